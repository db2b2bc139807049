"""What an image's configuration means for a job's container: entrypoint, init, labels, architecture. Asks no engine.

The fields are those of the OCI image specification, as the engine's `GET /images/{name}/json` gives them.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from job_fetcher.core.errors import JobFailed

SHELL = "/bin/sh"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS = {"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "rbash", "yash", "fish", "csh", "tcsh"}
_INITS = {
    *("init", "tini", "tini-static", "dumb-init", "docker-init", "catatonit", "my_init", "s6-svscan", "s6-overlay"),
    *("systemd", "runit", "runit-init", "runsvdir", "supervisord", "pid1", "yelp-init"),
}
"""Programs that have to be PID 1, or that do an init's work themselves: s6-overlay's `/init` refuses to run else."""
_USES_ARGUMENTS = re.compile(r"\$(?:[@*#0-9]|argv\b|\{[!#]?[@*#0-9])|\b(?:shift|getopts)\b")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "i386": "386"}
"""The kernel's names, which `info` has, in those of Go, which images have."""


@dataclass(frozen=True)
class ImageConfig:
    """The part of an image's configuration that the worker looks at."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    path: str = DEFAULT_PATH
    workdir: str = "/"
    architecture: str = ""
    id: str = ""
    """The digest of all that the image is."""

    @classmethod
    def of(cls, inspected: Mapping[str, Any]) -> Self:
        """Read the engine's answer to an inspection of an image."""
        config = inspected.get("Config") or {}
        env = dict(each.partition("=")[::2] for each in config.get("Env") or [])
        return cls(
            entrypoint=tuple(config.get("Entrypoint") or ()),
            cmd=tuple(config.get("Cmd") or ()),
            labels=tuple(config.get("Labels") or ()),
            path=env.get("PATH") or DEFAULT_PATH,
            workdir=config.get("WorkingDir") or "/",
            architecture=inspected.get("Architecture") or "",
            id=inspected.get("Id") or "",
        )

    def command(self, line: str | None, image: str) -> list[str] | None:
        """The container's `Cmd` for a job's shell line, or `None` for the image's own.

        The contract: the line runs as `/bin/sh -c "<line>"`, and the image's ENTRYPOINT receives that. An ENTRYPOINT
        that is a shell gets the line in the form that it runs. Raises `JobFailed` if the ENTRYPOINT can use no
        arguments, so that the command would never run.
        """
        if not line:
            return None
        words = _split_by_env(self.entrypoint)
        shell = _shell_at(words)
        if shell is None:
            return [SHELL, "-c", line]
        options, script = _shell_arguments(words[shell + 1 :])
        if script is None:
            return [line] if _runs_a_line(options) else ["-c", line]
        if _runs_a_line(options) and not _USES_ARGUMENTS.search(script):
            raise JobFailed(
                f"The image '{image}' ignores the job's command: its ENTRYPOINT is in shell form ({script[:200]})."
                " Write the ENTRYPOINT as a JSON list, or remove it."
            )
        return [SHELL, "-c", line]

    def has_own_init(self, command: Sequence[str] | None) -> bool:
        """Whether PID 1 of the container is an init of the image's own, if the container runs `command`."""
        words = (*self.entrypoint, *(command if command is not None else self.cmd))
        return bool(words) and posixpath.basename(words[0]) in _INITS

    def program(self, command: Sequence[str] | None) -> str | None:
        """What the container runs first: the ENTRYPOINT's program, or the command's. `None` if there is none at all."""
        words = (*self.entrypoint, *(command if command is not None else self.cmd))
        return words[0] if words else None

    def paths_of(self, program: str, path: str | None = None) -> list[str]:
        """Where `program` may lie in the container; `path` is the job's own PATH, if it sets one."""
        if "/" in program:
            return [posixpath.normpath(posixpath.join("/", self.workdir, program))]
        folders = (path or self.path).split(":")
        return [posixpath.normpath(posixpath.join("/", self.workdir, folder, program)) for folder in folders]


def foreign(architecture: str, machine: str) -> str | None:
    """A sentence if an image's `architecture` is not that of the engine's host (`Architecture` of its `info`)."""
    here = _ARCHITECTURES.get(machine, machine)
    if not architecture or architecture == here:
        return None
    return f"The image is for {architecture}, this machine is {here}: it cannot run the image's programs."


def interpreter(head: bytes) -> str | None:
    """The program that a script's first line names; `None` if it is no script.

    The name ends with a carriage return if the line does. The kernel hands that on, as a part of the program's name or
    of its argument. Of all interpreters Perl alone accepts it in an argument.
    """
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].strip(b" \t")
    words = [word.decode(errors="replace") for word in re.split(rb"[ \t]+", line, maxsplit=1)]
    accepts_return = posixpath.basename(words[0]).startswith("perl")
    return f"{words[0]}\r" if words[-1].endswith("\r") and len(words) > 1 and not accepts_return else words[0]


def _split_by_env(words: Sequence[str]) -> list[str]:
    """An ENTRYPOINT with the word that `env -S` splits into several, split. Its own arguments follow those words."""
    for number, word in enumerate(words):
        option = re.fullmatch(r"(?:-[a-zA-Z]*S|--split-string(?:=|$))(.*)", word, re.DOTALL)
        if option and "env" in map(posixpath.basename, words[:number]):
            text, rest = (
                (option[1], number + 1) if option[1] else (" ".join(words[number + 1 : number + 2]), number + 2)
            )
            try:
                return [*words[:number], *shlex.split(text), *words[rest:]]
            except ValueError:  # `env` does not understand it either
                return list(words)
    return list(words)


def _shell_at(words: Sequence[str]) -> int | None:
    """Where an ENTRYPOINT names the shell that gets the command; `None` if it names none.

    At its beginning, or behind `env` or an init such as `tini --`. Else behind any program that starts another one
    (`conda run -n x bash -c`): the last word that is a shell's name, if a `-c` follows.
    """
    for number, word in enumerate(words):
        name = posixpath.basename(word)
        if name in _SHELLS:
            return number
        if name not in _INITS and name != "env" and not word.startswith("-"):
            break
    for number in reversed(range(len(words))):
        if posixpath.basename(words[number]) in _SHELLS and _runs_a_line(_shell_arguments(words[number + 1 :])[0]):
            return number
    return None


def _shell_arguments(words: Sequence[str]) -> tuple[list[str], str | None]:
    """A shell's options, and its first argument that is none: a script, by its text or its path."""
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return options, next(rest, None)
        if not word.startswith(("-", "+")):
            return options, word
        options.append(word)
        if re.fullmatch(r"[-+][a-zA-Z]*[oO]", word):  # `-o pipefail`
            options.append(next(rest, ""))
    return options, None


def _runs_a_line(options: Sequence[str]) -> bool:
    """Whether the options have a `-c`, alone or among others (`-lc`)."""
    return any(re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", option) for option in options)
