"""Whether an image can be run here: its first program, the engine's init, the words for a start that fails."""

import base64
import io
import json
import logging
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.job import JobSpecs, Outcome
from job_fetcher.engine import image_config
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.image_config import SHELL, ImageConfig
from job_fetcher.engine.isolation import ISOLATION, LABEL_BUILD, image_labels, labelled

EXECUTABLE, LINK, FOLDER = 0o111, 1 << 27, 1 << 31
"""Bits of a file's mode as Go's `os.FileMode` has them."""
HEAD = 256
"""Bytes of a program that are looked at: the kernel reads as many of a script's first line."""
EXEC_FORMAT = "exec format error"
FAILED_EXEC = (1, 126, 127, 255)
"""Exit codes of a container whose program the kernel refuses, by the engine's init and by runtimes of all ages."""
LOG_TAIL = 4096

log = logging.getLogger(__name__)


def read(client: Client, image: str) -> ImageConfig:
    """The configuration of an image that is here. Raises `Missing` if it is not, and what `translate_errors` does."""
    with translate_errors(f"look for the image '{image}'"):
        return ImageConfig.of(client.inspect_image(image))  # type: ignore[no-untyped-call]


def has_init(client: Client, image: str) -> bool:
    """Whether the engine has its init, tried once with a container of `image`: `InitBinary` of `info` only names it.

    Raises `EngineUnavailable` if the engine does not answer, and `Missing` for the image.
    """
    if client.init_works is None:
        works = _starts(client, image, init=True)
        if not works:
            if not _starts(client, image, init=False):
                return False  # the image or the moment is to blame: the next job tries again
            works = _starts(client, image, init=True)
        client.init_works = works
        if not client.init_works:
            who = client.product.at_start
            log.warning("%s has no init (docker-init): the command of a job is PID 1 of its container", who)
    return client.init_works


def require_program(client: Client, container: str, config: ImageConfig, specs: JobSpecs) -> None:
    """Raise `JobFailed` if the created `container` lacks what it runs first: /bin/sh, or the ENTRYPOINT's program.

    `config`: of its image. What was found once in an image is not looked for again. Raises `Missing` if the container
    is gone. An engine that cannot tell is not believed: the start tells.
    """
    image = specs.handler.image_url
    program = config.program(config.command(specs.command_line, image))
    looked_for = (config.id, program, (specs.app.env or {}).get("PATH"))
    if program is None or program.startswith("/files/"):  # the job's own file
        return
    if looked_for in client.known_programs:
        return
    what = f"its ENTRYPOINT '{program}'" if config.entrypoint else f"its command '{program}'"
    with suppress(_Untold):
        found = [
            each
            for each in config.paths_of(program, (specs.app.env or {}).get("PATH"))
            if _mode(client, container, each) is not None
        ]
        if not found:
            with translate_errors("inspect the job's container"):
                client.inspect_container(container)  # it may be gone itself
            if program == SHELL:
                raise JobFailed(
                    f"The image '{image}' has no {SHELL}, which runs the job's command. Use one with a shell."
                )
            raise JobFailed(f"The image '{image}' is broken: it does not contain {what}.")
        mode = _mode(client, container, found[0]) or 0
        if mode & FOLDER or not mode & EXECUTABLE:
            raise JobFailed(
                f"The image '{image}' is broken: {what} is not executable. Add `chmod +x` to its Dockerfile."
            )
        script = image_config.interpreter(_head(client, container, found[0]))
        if script is not None and script.endswith("\r"):
            raise JobFailed(f"The image '{image}' is broken: {what} has Windows line ends. Convert it with dos2unix.")
        if script and _mode(client, container, script) is None:
            raise JobFailed(f"The image '{image}' is broken: {what} needs {script}, which the image does not contain.")
        if config.id:
            client.known_programs |= {looked_for}


def explained_start(client: Client, error: JobFailed, image: str) -> JobFailed:
    """The same error, in words for the job's user where the kernel has refused the image's program."""
    if EXEC_FORMAT not in str(error).lower():
        return error
    explanation = _foreign(client, image) or f"The image '{image}' has a program that is broken."
    return JobFailed(f"{explanation} ({error})")


def explained_end(client: Client, container: str, outcome: Outcome, log_file: Path) -> Outcome:
    """The same outcome, with a reason for the job's user where the kernel has refused the image's program."""
    if outcome.exit_code not in FAILED_EXEC or EXEC_FORMAT not in _tail(log_file).lower():
        return outcome
    with suppress(Missing, JobFailed, EngineUnavailable):
        with translate_errors("inspect the job's container"):
            image = client.inspect_container(container)["Image"]
        explanation = _foreign(client, image)
        if explanation is not None:
            return outcome.model_copy(update={"reason": f"{outcome.reason} {explanation}"})
    return outcome


def _foreign(client: Client, image: str) -> str | None:
    with suppress(Missing), translate_errors("describe the host"):
        return image_config.foreign(read(client, image).architecture, client.info()["Architecture"])
    return None


class _Untold(Exception):
    """The engine does not tell what is in a container."""


@contextmanager
def _looking() -> Iterator[None]:
    """Translate errors of a look into a container. Raises `_Untold`, or `EngineUnavailable` if the engine is away."""
    try:
        with translate_errors("look into the job's container"):
            yield
    except (Missing, JobFailed, tarfile.TarError) as error:
        raise _Untold from error
    except EngineUnavailable as error:
        if error.status is None:
            raise
        raise _Untold from error


def _starts(client: Client, image: str, *, init: bool) -> bool:
    """Whether a container starts, with the engine's init or without one.

    It runs nothing of the image: no image has a program of a random name. Without an init, the error that names this
    program counts as a start. The image's user and folder play no part.
    """
    program = f"/{secrets.token_hex(16)}"
    try:
        made = _create_on_trial(client, image, program, init=init)
    except (JobFailed, Missing, EngineUnavailable) as error:
        if not init or (isinstance(error, EngineUnavailable) and error.status is None):
            raise
        return False  # Podman looks for its init now; what refuses a container without one, too, is raised then
    try:
        with translate_errors("start a container on trial"):
            client.start(made)
    except (JobFailed, Missing) as error:
        return not init and program in str(error)
    except EngineUnavailable as error:
        if error.status is None:
            raise
        return not init and program in str(error)
    finally:
        with suppress(JobFailed, Missing, EngineUnavailable), translate_errors("remove a container"):
            client.remove_container(made, v=True, force=True)
    return True


def _create_on_trial(client: Client, image: str, program: str, *, init: bool) -> str:
    host_config = client.create_host_config(init=init, network_mode="none", **ISOLATION)
    with translate_errors("create a container on trial"):
        made: str = client.create_container(
            image,
            entrypoint=[program],
            command=[],
            user="0",
            working_dir="/",
            host_config=host_config,
            **labelled({LABEL_BUILD: "probe"}, image_labels(client, image)),
        )["Id"]
    return made


def _mode(client: Client, container: str, path: str, depth: int = 0) -> int | None:
    """The mode of a file in a container, links followed; `None` if there is none. Raises as `_looking` does."""
    with _looking():
        stat = client.stat(container, path)
    if stat is None:
        return None
    encoded: dict[str, Any] = json.loads(base64.b64decode(stat))
    target = encoded.get("linkTarget")
    if int(encoded["mode"]) & LINK and target and target != path and depth < 8:
        return _mode(client, container, str(PurePosixPath(path).parent / target), depth + 1)
    return int(encoded["mode"])


def _head(client: Client, container: str, path: str) -> bytes:
    """The first bytes of a file in a container; nothing where the engine gives a link instead."""
    with _looking():
        stream, _ = client.get_archive(container, path, chunk_size=8192)
        with tarfile.open(fileobj=io.BytesIO(next(stream, b"")), mode="r:") as archive:
            stream.close()  # of a program, which may be large, no more than its beginning is fetched
            entry = archive.next()
            content = archive.extractfile(entry) if entry is not None and entry.isfile() else None
            return content.read(HEAD) if content is not None else b""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
