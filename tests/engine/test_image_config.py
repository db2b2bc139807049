"""What images' configurations mean for a job's container, as tables."""

import pytest

from job_fetcher.core.errors import JobFailed
from job_fetcher.engine.image_config import ImageConfig, foreign, interpreter

LINE = "exit 3"
USUAL = ["/bin/sh", "-c", LINE]

COMMANDS: dict[tuple[str, ...], list[str]] = {
    (): USUAL,
    ("/docker/entrypoint.sh",): USUAL,
    ("python", "-m", "app"): USUAL,
    ("tini", "--"): USUAL,
    ("/init",): USUAL,
    ("conda", "run", "-n", "decode"): USUAL,
    ("/bin/sh", "-c"): [LINE],
    ("sh", "-c"): [LINE],
    ("/bin/bash", "-c"): [LINE],
    ("/usr/local/bin/bash", "-lc"): [LINE],
    ("bash", "-l", "-c"): [LINE],
    ("/bin/bash", "-eo", "pipefail", "-c"): [LINE],
    ("/bin/bash", "-c", "--"): [LINE],
    ("/usr/bin/env", "bash", "-c"): [LINE],
    ("/usr/bin/tini", "--", "/bin/sh", "-c"): [LINE],
    ("dumb-init", "/bin/sh", "-ec"): [LINE],
    ("conda", "run", "-n", "decode", "/bin/bash", "-c"): [LINE],
    ("micromamba", "run", "-n", "base", "bash", "-c"): [LINE],
    ("gosu", "app", "bash", "-c"): [LINE],
    ("env", "A=1", "sh", "-c"): [LINE],
    ("busybox", "sh", "-c"): [LINE],
    ("nice", "-n", "10", "sh", "-c"): [LINE],
    ("tini", "-p", "SIGTERM", "--", "sh", "-c"): [LINE],
    ("conda", "run", "-n", "bash", "/bin/sh", "-lc"): [LINE],
    ("/entrypoint.sh", "bash", "-eo", "pipefail", "-c"): [LINE],
    ("env", "-S", "bash -c"): [LINE],
    ("/usr/bin/env", "-i", "-S", "A=1 bash -l -c"): [LINE],
    ("env", "-Sbash -c"): [LINE],
    ("env", "--split-string=bash -c"): [LINE],
    ("fish", "-c"): [LINE],
    ("rbash", "-c"): [LINE],
    ("conda", "run", "-n", "bash"): USUAL,
    ("env", "-S", "python -m app"): USUAL,
    ("env", "-S", "bash -c 'unfinished"): USUAL,
    ("conda", "run", "/bin/bash", "-c", 'exec "$@"', "bash"): USUAL,
    ("fish", "-c", "exec $argv"): USUAL,
    ("/bin/bash",): ["-c", LINE],
    ("/bin/bash", "--login"): ["-c", LINE],
    ("tini", "-g", "--", "bash"): ["-c", LINE],
    ("/bin/sh", "/entrypoint.sh"): USUAL,
    ("/bin/bash", "-e", "/entrypoint.sh"): USUAL,
    ("/bin/sh", "-c", 'exec app "$@"'): USUAL,
    ("/bin/sh", "-c", "exec app ${@}"): USUAL,
    ("/bin/sh", "-c", "exec $0 $*"): USUAL,
    ("/bin/sh", "-c", 'exec "$@"', "--"): USUAL,
    ("/bin/sh", "-c", 'test -n "$1" && shift && echo "${1:-x}"'): USUAL,
}
SWALLOWS = [
    ("/bin/sh", "-c", "python /app/main.py"),
    ("/bin/sh", "-c", "exec top -b"),
    ("/bin/bash", "-o", "pipefail", "-c", "cd /app && ./run $HOME"),
    ("/usr/bin/tini", "--", "sh", "-c", "./run"),
    ("/bin/bash", "-lc", "./run"),
    ("conda", "run", "-n", "decode", "/bin/bash", "-c", "python /app/main.py"),
    ("tini", "-p", "SIGTERM", "--", "sh", "-c", "./run"),
    ("env", "-S", "bash -c ./run"),
]


@pytest.mark.parametrize(("entrypoint", "command"), COMMANDS.items(), ids=str)
def test_entrypoint_gets_the_line_in_the_form_that_it_runs(entrypoint: tuple[str, ...], command: list[str]) -> None:
    assert ImageConfig(entrypoint).command(LINE, "x") == command
    assert ImageConfig(entrypoint).command(None, "x") is None


@pytest.mark.parametrize("entrypoint", SWALLOWS, ids=str)
def test_entrypoint_that_ignores_the_command_is_refused_by_name_where_there_is_one(entrypoint: tuple[str, ...]) -> None:
    with pytest.raises(JobFailed, match="The image 'lab/app:1' ignores the job's command: its ENTRYPOINT is in shell"):
        ImageConfig(entrypoint).command(LINE, "lab/app:1")
    assert ImageConfig(entrypoint).command(None, "lab/app:1") is None
    assert ImageConfig(entrypoint).command("", "lab/app:1") is None


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "command", "own"),
    [
        (("/init",), (), USUAL, True),
        (("/usr/bin/tini", "--"), (), USUAL, True),
        (("dumb-init",), (), USUAL, True),
        (("/sbin/docker-init", "--"), (), USUAL, True),
        (("/sbin/my_init",), (), USUAL, True),
        ((), ("/sbin/init",), None, True),
        ((), ("/sbin/init",), USUAL, False),
        (("/entrypoint.sh",), (), USUAL, False),
        ((), (), None, False),
        (("init.sh",), (), USUAL, False),
    ],
)
def test_init_of_the_image_is_known(
    entrypoint: tuple[str, ...], cmd: tuple[str, ...], command: list[str] | None, own: bool
) -> None:
    assert ImageConfig(entrypoint, cmd).has_own_init(command) is own


@pytest.mark.parametrize(
    ("architecture", "machine", "told"),
    [
        ("arm64", "x86_64", "The image is for arm64, this machine is amd64"),
        ("amd64", "aarch64", "The image is for amd64, this machine is arm64"),
        ("s390x", "x86_64", "The image is for s390x, this machine is amd64"),
        ("amd64", "x86_64", None),
        ("arm64", "aarch64", None),
        ("ppc64le", "ppc64le", None),
        ("", "x86_64", None),
    ],
)
def test_foreign_architecture_is_named(architecture: str, machine: str, told: str | None) -> None:
    sentence = foreign(architecture, machine)
    assert sentence is None if told is None else (sentence or "").startswith(told)


def test_program_is_looked_for_where_the_container_would() -> None:
    config = ImageConfig(("run",), path="/opt/bin:bin", workdir="/app")
    assert config.program(USUAL) == "run"
    assert config.paths_of("run") == ["/opt/bin/run", "/app/bin/run"]
    assert config.paths_of("run", "/usr/bin") == ["/usr/bin/run"]
    assert config.paths_of("./run") == ["/app/run"]
    assert config.paths_of("/bin/sh") == ["/bin/sh"]
    assert ImageConfig().program(USUAL) == "/bin/sh"
    assert ImageConfig(cmd=("/echo",)).program(None) == "/echo"
    assert ImageConfig().program(None) is None


@pytest.mark.parametrize(
    ("head", "program"),
    [
        (b"#!/bin/bash\nx", "/bin/bash"),
        (b"#! /usr/bin/env python\nx", "/usr/bin/env"),
        (b"#!/bin/bash\r\nx", "/bin/bash\r"),
        (b"#!/usr/bin/env bash\r\nx", "/usr/bin/env\r"),
        (b"#!/bin/sh -e\r\nx", "/bin/sh\r"),
        (b"#!/usr/bin/env -S bash -e \r\nx", "/usr/bin/env\r"),
        (b"#!/bin/bash\t-e\nx", "/bin/bash"),
        (b"#!/usr/bin/perl -w\r\nx", "/usr/bin/perl"),
        (b"\x7fELF", None),
        (b"", None),
    ],
)
def test_interpreter_of_a_script_is_read(head: bytes, program: str | None) -> None:
    assert interpreter(head) == program


def test_configuration_without_anything_is_read() -> None:
    assert ImageConfig.of({}) == ImageConfig()
    assert ImageConfig.of({"Config": None, "Architecture": ""}) == ImageConfig()
    inspected = {"Config": {"Env": ["PATH=/x", "A"], "Labels": {"a": "b"}, "WorkingDir": "/w", "Entrypoint": None}}
    assert ImageConfig.of(inspected) == ImageConfig(labels=("a",), path="/x", workdir="/w")
