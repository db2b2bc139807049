"""The cloud's side, docs/cloud.md: each step a process without Docker or environment, only JSON between them."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts.cloud import handlers

from tests.support.cloud import OFFER, OUTCOME, Cloud, run_container
from tests.support.files import LARGE, ODD_NAMES
from tests.support.platform import Platform

INPUTS = {"data/frames.bin": LARGE, **{f"data/{name}": name.encode() for name in ODD_NAMES}}
COMMAND = "mkdir /files/output && cat /files/data/* > /files/output/all && echo $WORD > /files/log/log && echo said"


def test_a_job_runs_by_steps_that_share_files_and_json_and_each_can_be_repeated(
    mock: Platform, cloud: Cloud, job_image: str
) -> None:
    job_id, event = cloud.pulled(
        COMMAND, image=job_image, files=INPUTS, up={"output": "output", "log": "log"}, env={"WORD": "ü 7"}
    )
    given = {"fetch": event}
    given["keep_alive"] = event = cloud.call("fetch", event)
    assert (event["next"], cloud.call("fetch", given["fetch"])) == ("run", event)
    given["upload"] = event | {"outcome": run_container(event["container"])}
    assert cloud.call("keep_alive", event) == cloud.call("keep_alive", event) == {"gone": False}
    given["report"] = event = cloud.call("upload", given["upload"])
    assert (event["next"], cloud.call("upload", given["upload"])) == ("report", event)
    assert cloud.call("report", event) == {"next": "end"}

    outputs = mock.outputs(job_id)
    assert outputs.pop("output/output/all") == b"".join(INPUTS[name] for name in sorted(INPUTS, key=str.encode))
    assert outputs == {"log/log/log": "ü 7\n".encode(), "log/log/container.log": b"said\n"}
    assert len(mock.requests("GET", "*/download")) == len(INPUTS), "nothing is fetched twice"
    assert len(mock.requests("POST", "/store")) == 3, "nor sent"
    assert mock.statuses(job_id) == ["preprocessing", "running", "postprocessing", "finished"]
    told = "The command ended with exit code 0. The worker uploaded 1 output file ("
    assert mock.details(job_id).startswith(told)
    assert mock.details(job_id).endswith(") and 2 log files (10 bytes).\n\nThe end of the log:\nsaid")
    history = list(mock.job(job_id).history)

    assert {step: cloud.call(step, event) for step, event in given.items()} == {
        "fetch": {"next": "end"},
        "keep_alive": {"gone": True},
        "upload": {"next": "end"},
        "report": {"next": "end"},
    }
    assert list(mock.job(job_id).history) == history, "of a job that is over nothing is said any more"
    assert cloud.call("pull", {"offer": OFFER}) == {"next": "end"}
    assert cloud.folders() == []


def test_steps_that_are_killed_go_on_where_they_were(mock: Platform, cloud: Cloud) -> None:
    job_id = mock.submit(files={"a": LARGE, "b": b"2"}, up={"output": "output"})
    for left_over in (cloud.files(job_id) / "output", cloud.base / f".removing-{job_id}"):
        left_over.mkdir(parents=True)
        (left_over / "of an earlier try").touch()
    pull = mock.fault("/jobs", hang=True)
    cloud.killed("pull", {"offer": OFFER}, lambda: pull.matched > 0)
    mock.heal()
    event = cloud.call("pull", {"offer": OFFER})

    second = mock.fault("/files/*/b/download", "GET", hang=True)
    cloud.killed("fetch", event, lambda: second.matched > 0 and (cloud.files(job_id) / "a").exists())
    mock.heal()
    event = cloud.call("fetch", event) | {"outcome": OUTCOME}
    assert event["next"] == "run"
    assert Counter(each.path.split("/")[-2] for each in mock.requests("GET", "*/download")) == {"a": 1, "b": 2}

    for name in "123":
        (cloud.files(job_id) / "output" / name).write_text(name)
    (cloud.base / job_id / "container.log").write_text("said\n")
    ledger = cloud.base / job_id / "uploads.jsonl"
    last = mock.fault("/store/*", "POST", skip=3, hang=True)
    cloud.killed("upload", event, lambda: last.matched == 4 and ledger.exists() and ledger.read_text().count("\n") == 3)
    mock.heal()
    event = cloud.call("upload", event)
    assert len(mock.requests("POST", "/store")) == 5, "what has arrived is not sent again"

    said = mock.fault("/jobs/*/status", "PUT", hang=True)
    cloud.killed("report", event, lambda: said.matched > 0)
    mock.heal()
    assert cloud.call("report", event) == {"next": "end"}
    assert mock.statuses(job_id) == ["preprocessing", "postprocessing", "finished"]
    assert set(mock.outputs(job_id)) == {
        "output/output/1",
        "output/output/2",
        "output/output/3",
        "log/log/container.log",
    }


def test_a_kill_at_any_step_does_no_harm(mock: Platform, cloud: Cloud) -> None:
    job_id, event = cloud.pulled(files={"a": b"1", "deep/b": b"2"}, up={"output": "output"})
    event = cloud.call("fetch", event, kill_at_each_step="begin anew")
    assert (event["next"], (cloud.files(job_id) / "deep" / "b").read_bytes()) == ("run", b"2")
    (cloud.files(job_id) / "output" / "x").write_bytes(b"3")
    event = cloud.call("upload", event | {"outcome": OUTCOME}, kill_at_each_step="begin anew")
    assert (event["next"], event["final"]["status"]) == ("report", "finished")
    assert cloud.call("report", event, kill_at_each_step="go on") == {"next": "end"}
    assert mock.outputs(job_id) == {"output/output/x": b"3"}
    assert [update.status.value for update in mock.job(job_id).history].count("finished") == 1, "the user gets one mail"
    assert mock.statuses(job_id) == ["preprocessing", "postprocessing", "finished"]
    assert cloud.folders() == []
    kills = re.findall(r"was killed (\d+) times", cloud.log.read_text())
    assert min(map(int, kills)) > 10


@pytest.mark.parametrize(
    ("printed", "written", "told"),
    [
        ("", "Traceback\nValueError: odd\n", "The end of the log file 'log/log.log':\nTraceback\nValueError: odd"),
        ("said\n", "not this\n", "The end of the log:\nsaid"),
        ("No such file or directory: '/files/b'\n", "", "These inputs were there: '/files/a'."),
    ],
)
def test_details_of_a_failure_tell_what_those_of_a_worker_tell(
    mock: Platform, tmp_path: Path, printed: str, written: str, told: str
) -> None:
    """The platform's Comet sends its output to a file of the log folder."""
    here, in_time = handlers.Cloud(mock.api(), tmp_path), SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)
    mock.submit(files={"a": b"1"}, up={"log": "log"})
    event = here.fetch(here.pull({"offer": OFFER}, in_time), in_time)
    Path(event["container"]["log"]).write_text(printed)
    Path(event["container"]["files"], "log", "log.log").write_text(written)
    failed = {"exit_code": 1, "reason": "The command ended with exit code 1.", "succeeded": False}
    event = here.upload(event | {"outcome": failed}, in_time)
    assert told in event["final"]["details"]


def test_a_job_cannot_ask_nvidias_runtime_for_cards(mock: Platform, cloud: Cloud) -> None:
    _, event = cloud.pulled(env={"NVIDIA_VISIBLE_DEVICES": "all", "nvidia_x": "y", "WORD": "kept"})
    assert cloud.call("fetch", event)["container"]["environment"] == {"WORD": "kept"}


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"files": {"a": b"1", "b": "s3://missing"}}, "The input 'b' cannot be fetched: there is no such file."),
        ({"app": 7}, "The job's description is not valid: app: Input should be a valid dictionary or instance of App."),
    ],
    ids=["input", "description"],
)  # fmt: skip
def test_a_job_that_cannot_succeed_is_reported_as_error(mock: Platform, cloud: Cloud, job: Any, told: str) -> None:
    job_id, event = cloud.pulled(**job)
    # The thread that fetches the other input outlives the error, but not the call.
    mock.fault("/files/*/download", delay_s=1)
    event = cloud.call("fetch", event)
    assert (event["next"], event["final"]) == ("report", {"status": "error", "details": told})
    assert cloud.call("report", event) == {"next": "end"}
    assert (mock.job(job_id).status, mock.details(job_id)) == ("error", told)
    assert cloud.folders() == []


def test_a_command_that_failed_is_reported_with_its_log(mock: Platform, cloud: Cloud, job_image: str) -> None:
    job_id, event = cloud.pulled(
        "echo half > /files/output/x; echo why >&2; exit 7", image=job_image, up={"output": "output"}
    )
    event = cloud.call("fetch", event)
    event = cloud.call("upload", event | {"outcome": run_container(event["container"])})
    cloud.call("report", event)
    assert mock.outputs(job_id) == {"output/output/x": b"half\n", "log/log/container.log": b"why\n"}
    assert mock.job(job_id).status == "error"
    assert mock.details(job_id) == (
        "The command ended with exit code 7. The worker uploaded 1 output file (5 bytes) and 1 log file (4 bytes)."
        "\n\nThe end of the log:\nwhy"
    )
