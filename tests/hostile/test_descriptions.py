"""Jobs whose descriptions attack: names of inputs and outputs, images, environments, commands, ids."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import LOG, StartVictim, Victim

LONG = "x" * 255
TOO_LONG_WITH_THE_FOLDER = f"{LONG}/" * 15 + "y" * 150


def outside(victim: Victim) -> set[str]:
    """All files around the folders of jobs."""
    base = victim.worker.base
    folders = [(Path(folder), names) for folder, _, names in os.walk(base.parent)]
    return {f"{folder}/{name}" for folder, names in folders if base not in folder.parents for name in names}


@pytest.fixture(autouse=True)
def nothing_new(victim: Victim) -> Iterator[None]:
    """Nothing appears where no job may write."""
    before = outside(victim)
    yield
    new = {path for path in outside(victim) - before if "/.trial-" not in path}  # it is there for a moment, at any time
    assert new <= {str(victim.worker.base / name) for name in (".lock", ".images.json", ".history.jsonl")}
    assert not Path("/tmp/hostile").exists()


POLL = "*limit=1*"
"""Of a request for a job, and of no question whether this is the worker-facing API."""

INPUTS = {
    "an absolute path": ({"/tmp/hostile": b""}, "/tmp/hostile"),
    "a path above the folder": ({"../../hostile": b""}, "../../hostile"),
    "a path above the folder by a detour": ({"a/../../../hostile": b""}, "a/../../../hostile"),
    "the job's own record": ({"../job.json": b"{}"}, "../job.json"),
    "nothing": ({"": b""}, "names nothing"),
    "the folder itself": ({".": b""}, "names nothing"),
    "the folder above": ({"..": b""}, ".."),
    "a folder": ({"a/": b""}, "names a folder"),
    "a NUL": ({"a\0b": b""}, "a character that a path cannot have"),
    "a name that is too long": ({"x" * 256: b""}, "is too long"),
    "a path that is too long": ({f"{LONG}/" * 16 + "x": b""}, "is too long"),
    "a path that is too long on this disk": ({TOO_LONG_WITH_THE_FOLDER: b""}, "File name too long"),
    "a file and a folder": ({"a": b"", "a/b": b""}, "'a/b' and 'a' cannot both be files"),
    "a file and a deep folder": ({"a/b/c/d": b"", "a/b": b""}, "'a/b/c/d' and 'a/b' cannot both be files"),
    "a file by two names": ({"a/b": b"1", "./a//b": b"2"}, "'a/b' and './a//b' are the same file"),
    "the id of another endpoint": ({"a": "../jobs/1/status?x="}, "'.' or '..'"),
    "an id that climbs": ({"a": "s3://bucket/../../secret"}, "'.' or '..'"),
}


def test_input_that_would_be_written_elsewhere_is_refused_by_name(victim: Victim) -> None:
    """P5: an input named `../../x` or `/x` was written there, so that the worker's code could be overwritten."""
    fates = victim.attack_all({what: {"files": files} for what, (files, _) in INPUTS.items()}, "true")
    for what, fate in fates.items():
        assert fate.status == "error", what
        assert INPUTS[what][1] in fate.told, what


OUTPUTS = {
    "an absolute path": "/etc",
    "the folder above": "..",
    "the folder above by a detour": "a/../..",
    "the whole folder": ".",
    "nothing": "",
    "a NUL": "a\0b",
    "an input": "in",
    "a folder below an input": "in/deep",
    "a name that is too long": "x" * 256,
    "a path that is too long on this disk": TOO_LONG_WITH_THE_FOLDER,
}


def test_output_folder_that_is_none_of_the_job_is_refused(victim: Victim) -> None:
    jobs = {what: {"up": {"output": folder}, "files": {"in": b"x"}} for what, folder in OUTPUTS.items()}
    for what, fate in victim.attack_all(jobs, "true").items():
        assert (fate.status, fate.outputs) == ("error", {}), what
        assert fate.told.startswith(
            ("The job's description is not valid: ", "The worker's disk cannot hold a file with the name ")
        ), what


IMAGES = [
    *("http://127.0.0.1/x", "https://127.0.0.1:2375/containers/json?", "http://x/../../../containers/json"),
    *("../../containers", "-x.y/z", "--privileged", "-v /:/host x", " ", "x\ny", "x\0y", "x;reboot", "$(reboot)"),
    *("\u202ex", "\x1b[2J", "x" * 300, "x" * 10240, "a" * 64, "x@sha256:zz", "UPPER/x", "x\n2026-01-01 ERROR forged"),
]


def test_name_that_no_image_can_have_is_told_at_once(victim: Victim) -> None:
    fates = victim.attack_all({image: {"image": image} for image in IMAGES}, "true")
    assert {fate.status for fate in fates.values()} == {"error"}
    assert [image for image, fate in fates.items() if "image" not in fate.told] == []
    assert all(line.startswith("20") for line in victim.worker.log.splitlines())  # nobody writes lines of its log


@pytest.fixture(scope="module")
def choosy(start_victim: StartVictim, job_image: str) -> Victim:
    """A worker that allows one image, with any tag, and what begins so on Docker Hub."""
    return start_victim(ALLOWED_IMAGES=f"{job_image.removesuffix(':latest')}, docker.io/library/allowed*")


NOT_ALLOWED = [
    *("{registry}/entrypoint:latest", "{registry}/job-other:latest", "{registry}/job/other:latest"),
    *("{registry}/x/../job:latest", "evil/{registry}/job:latest", "docker.io/evil/allowed", "Library/allowed", "evil"),
    *("sha256:{zeros}", "{zeros}", "{registry}/entrypoint:latest@sha256:{zeros}"),
    *("{registry}/entrypoint@{registry}/job:latest", "{registry}/entrypoint:{registry}/job:latest"),
]


def test_image_that_is_not_allowed_is_not_even_asked_for(choosy: Victim) -> None:
    names = [image.format(registry=choosy.images.registry, zeros="0" * 64) for image in NOT_ALLOWED]
    for name, fate in choosy.attack_all({name: {"image": name} for name in names}, "true").items():
        assert fate.status == "error"
        assert fate.told in (
            f"The image '{name}' is not among those that this worker allows. The owner of this worker has to add it to"
            " ALLOWED_IMAGES.",
            f"'{name}' is not the name of an image (invalid reference format).",
        )


ENVIRONMENTS: dict[str, tuple[dict[str, str], str]] = {
    "a name with an equals sign": ({"A=B": "C"}, "A=B=C"),
    "a name with a line break": ({"A\nNVIDIA_VISIBLE_DEVICES": "all"}, ""),
    "thousands of variables": ({f"A{number}": "x" for number in range(5000)}, "A4999=x"),
    "GPUs by name": ({"NVIDIA_VISIBLE_DEVICES": "all", "nvidia_visible_devices": "all"}, ""),
    "GPUs by a name with a value": ({"NVIDIA_VISIBLE_DEVICES=all": ""}, ""),
    "what is loaded before all else": ({"LD_PRELOAD": "/files/x.so", "PATH": "/bin:/files"}, "LD_PRELOAD"),
    "what the worker reads": ({"DOCKER_HOST": "tcp://evil", "PASSWORD": "x"}, "PASSWORD=x"),
}


def test_environment_reaches_the_command_and_neither_gpus_nor_the_worker(victim: Victim) -> None:
    jobs = {what: {"env": environment} for what, (environment, _) in ENVIRONMENTS.items()}
    for what, fate in victim.attack_all(jobs, "/bin/env").items():
        assert ENVIRONMENTS[what][1] in fate.log, what
        assert "\nNVIDIA_VISIBLE_DEVICES=void\n" in f"\n{fate.log}", what


CANNOT_START: dict[str, dict[str, Any]] = {
    "a command with a NUL": {"app": {"cmd": ["echo \0"]}},
    "a variable with a NUL": {"app": {"cmd": ["true"], "env": {"A": "b\0c"}}},
    "a value larger than the kernel takes": {"app": {"cmd": ["true"], "env": {"A": "x" * 200_000}}},
    "a command larger than the kernel takes": {"app": {"cmd": ["x" * 2**20]}},
    "an open quote": {"app": {"cmd": ["'"]}},
    "an open bracket": {"app": {"cmd": ["$("]}},
    "no list": {"app": {"cmd": {}}},
    "no description at all": {"app": None, "handler": None},
    "lists": {"app": [], "handler": []},
    "numbers": {"app": {"cmd": [1e308, -0.0]}, "handler": {"image_url": 7}},
}


def test_command_that_cannot_be_started_fails_alone(victim: Victim) -> None:
    fates = victim.attack_all(CANNOT_START)
    assert [what for what, fate in fates.items() if fate.status != "error"] == []


IDS = ["../../x", "a/b", "a\nb", " ", "x" * 129, "?x=y", "\u202e", "\0"]


def test_id_that_is_no_folders_name_is_reported_if_a_url_can_name_it(victim: Victim) -> None:
    ids = [*IDS, ".", "..", "x" * 10240]
    for job_id in ids:
        victim.platform.fault(
            "/jobs", query=POLL, status=200, body=json.dumps({job_id: {"app": 7, "handler": {}}}), times=1
        )
    victim.survive()
    told = [each.path for each in victim.platform.requests("PUT", "/jobs/") if each.query.get("status") == ["error"]]
    assert [job_id for job_id in IDS if f"/jobs/{job_id}/status" not in told] == []


def test_id_like_a_file_of_the_worker_is_only_an_id(start_victim: StartVictim) -> None:
    """The worker writes that file after the job's folder is there."""
    victim = start_victim()
    good = {"app": {"cmd": ["true"]}, "handler": {"image_url": victim.images.job}}
    for job_id in ("images.json", "lock"):
        victim.platform.fault(f"/jobs/{job_id}/status", status=204)
        victim.platform.fault(f"/jobs/{job_id}/files/url", status=404, detail="no")
        victim.platform.fault("/jobs", query=POLL, status=200, body=json.dumps({job_id: good}), times=1)
    victim.survive()


NOT_EVEN_JSON = ['"\\ud800"', "9" * 5000, "[" * 500 + "]" * 500, "1e999", "null", '{"app": {"cmd": 7}}']


def test_description_that_nobody_understands_is_reported(victim: Victim) -> None:
    """Done-when 3 of the issue: a job that is ours, and could be reported, is."""
    jobs = [victim.platform.pulled("true") for _ in NOT_EVEN_JSON]
    for job, raw in zip(jobs, NOT_EVEN_JSON, strict=True):
        victim.platform.fault("/jobs", query=POLL, status=200, body=f'{{"{job}": {raw}}}', times=1)
    victim.survive()
    for job in jobs:
        assert victim.fate(job).told.startswith("The job's description is not valid")


def test_log_of_a_job_is_not_lost_for_a_folder_of_that_name(victim: Victim) -> None:
    line = "cd /files/log; mkdir container.log left-out.txt; echo x > container.log/x; ln -s / l; echo said"
    fate = victim.attack(line, up={"log": "log"})
    assert fate.status == "finished"
    assert fate.outputs["log/log/container.log/x"] == b"x\n"
    assert fate.outputs[LOG] == b"said\n"
