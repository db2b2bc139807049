"""A Docker engine of the tests' own, to be stopped, killed and started again; this machine's own is never touched.

It has its containerd, folders and socket for itself, and a network namespace, where its bridge collides with none.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError

from tests.support.images import add_image, shell_files
from tests.support.worker import wait_until

IMAGE = "127.0.0.1:1/job:latest"
"""The engine has it, and nobody else: no registry is there to be asked."""
PATIENCE_S = 60.0


class OwnEngine:
    """An engine that keeps everything in `folder`, whose path must be short: it holds Unix sockets.

    `tools`: a folder that is searched for commands before all others, NVIDIA's hook among them. `options`: of dockerd.
    """

    def __init__(self, folder: Path, tools: Path | None = None, options: tuple[str, ...] = ()) -> None:
        self.folder, self.socket, self._options = folder, folder / "docker.sock", options
        self._path = ":".join(map(str, filter(None, [tools, os.environ["PATH"]])))
        self.url = f"unix://{self.socket}"
        self._processes: list[subprocess.Popen[bytes]] = []
        containerd = ["--root", str(folder / "containerd"), "--state", str(folder / "c-state")]
        self._containerd = self._run("containerd", *containerd, "--address", str(folder / "containerd.sock"))
        wait_until((folder / "containerd.sock").exists, "containerd")
        self.client = docker.DockerClient(self.url, version="1.41")
        self.start()
        add_image(self.client, IMAGE, shell_files())

    def start(self) -> None:
        """Start dockerd and wait until it answers."""
        self.folder.joinpath("docker.pid").unlink(missing_ok=True)
        self._dockerd = self._run(
            "unshare", "--net", "dockerd",
            "--data-root", str(self.folder / "data"),
            "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "docker.pid"),
            "--containerd", str(self.folder / "containerd.sock"),
            "--host", self.url,
            *self._options,
        )  # fmt: skip
        wait_until(self.answers, "our engine to start", PATIENCE_S)

    def answers(self) -> bool:
        """Asked without docker-py, which leaves its socket open when it fails."""
        with closing(socket.socket(socket.AF_UNIX)) as connection, suppress(OSError):
            connection.settimeout(10)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b" 200 " in connection.recv(100)
        return False

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End dockerd by a signal: SIGTERM stops its containers, as a reboot or an update does, SIGKILL does not."""
        self.client.close()  # its connections, which would be left open else
        self._dockerd.send_signal(how)
        self._dockerd.wait(PATIENCE_S)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.end(how)
        self.start()

    def hang(self) -> None:
        """Let it do nothing any more, until `go_on`: connections are accepted, and wait."""
        self._dockerd.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a `hang`: what was asked of it meanwhile is done now."""
        self._dockerd.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Remove it with all that it has."""
        self.go_on()
        if not self.answers():
            self.start()
        for container in self.client.containers.list(all=True):
            with suppress(APIError):  # somebody is removing it
                container.remove(force=True, v=True)
        self.client.close()
        self.end()
        self._containerd.terminate()
        self._containerd.wait(PATIENCE_S)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | {"PATH": self._path}
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@contextmanager
def own_engine(tools: Path | None = None, *options: str) -> Iterator[OwnEngine]:
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    engine = OwnEngine(folder, tools, options)
    try:
        yield engine
    finally:
        engine.close()
        for mounted in _mounts_below(folder):
            subprocess.run(["umount", "--lazy", mounted], check=False)
        shutil.rmtree(folder)


def _mounts_below(folder: Path) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]
