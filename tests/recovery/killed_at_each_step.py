"""`python -m tests.recovery.killed_at_each_step ACTION FOLDER`: a program of its own, since it forks.

It does ACTION to a job's folder again and again, in a process that is killed at the first step that Python tells its
audit hooks of (each opening, making, renaming, locking … of a file), then at the second, and so on until it comes
through. After each kill it looks at what the next start would find. Prints how many steps there were.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

from job_fetcher.core.job import Final, Job, JobStatus
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.workspace import Workspace

JOB = Job(id="7", raw={"app": {}, "handler": {"image_url": "x"}})


def create(workspace: Workspace) -> None:
    with workspace.create(JOB):
        pass


def record(workspace: Workspace) -> None:
    for folder in workspace.resumable():
        with folder:
            folder.record(runs=1, final=Final(status=JobStatus.FINISHED, details="x" * 3_000))


def reset(workspace: Workspace) -> None:
    for folder in workspace.resumable():
        with folder:
            folder.reset()


def remove(workspace: Workspace) -> None:
    for folder in workspace.resumable():
        with folder:
            folder.remove()


ACTIONS: dict[str, Callable[[Workspace], None]] = {each.__name__: each for each in (create, record, reset, remove)}


def is_killed(action: Callable[[Workspace], None], workspace: Workspace, step: int) -> bool:
    """Do `action` in a process that is killed at its `step`; whether it has as many."""
    process = os.fork()
    if process == 0:
        steps = count(1)

        def at_each_step(event: str, _: object) -> None:
            if event.startswith(("os.", "open", "fcntl.", "shutil.", "subprocess.")) and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(at_each_step)
        action(workspace)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL), "the action itself failed"
    return status != 0


def assert_usable(folder: JobFolder) -> None:
    """The next start can go on with the folder, wherever the kill was."""
    final = folder.state.final
    assert (folder.state.runs, final is None) in [(0, True), (1, False)], "the record is the old one or the new one"
    folder.reset()
    assert list(folder.files.iterdir()) == list(folder.parts.iterdir()) == []
    folder.record(runs=2)


def main(action: str, base: Path) -> None:
    workspace = Workspace(base, "ada at https://api")
    for step in count(1):
        shutil.rmtree(base, ignore_errors=True)
        workspace.prepare()
        if action != "create":
            with workspace.create(JOB) as folder:
                (folder.files / "in").write_text("x")
        killed = is_killed(ACTIONS[action], workspace, step)
        found = list(workspace.resumable())
        assert len(found) < 2
        for folder in found:
            with folder:
                if action != "reset":
                    assert folder.files.is_dir(), "a job's folder appears, and vanishes, as a whole"
                    assert folder.parts.is_dir()
                assert_usable(folder)
                folder.remove()
        for removal in [each for each in threading.enumerate() if each.name == "remove-folders"]:
            removal.join()
        assert [path.name for path in base.iterdir()] == [".lock"], "nothing is left, under no other name either"
        if not killed:
            print(step - 1)  # noqa: T201
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
