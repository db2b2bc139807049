"""A check that finds nothing."""

from pathlib import Path

import docker

from tests.preflight.conftest import Check, run_check, settings_of
from tests.support.platform import TOKEN, Platform
from tests.support.worker import wait_until

ALL = [
    *("settings", "API", "credentials", "engine", "container", "registries", "network", "folder"),
    *("folder on the host", "limits", "disk", "GPU", "GPU in a container", "offer", "storage", "now"),
]


def probes(docker_client: docker.DockerClient) -> set[str]:
    """The ids of the containers that checks have made and not removed."""
    found = docker_client.api.containers(all=True, filters={"label": "job-fetcher.build=probe"})
    return {str(each["Id"]) for each in found}


def test_everything_is_well(check: Check, mock: Platform, docker_client: docker.DockerClient, tmp_path: Path) -> None:
    """What it prints is told in the contract's own names and units; nothing is left of it, and no job was asked for."""
    before = probes(docker_client)
    report = check()
    assert (report.code, report.crosses) == (0, [])
    assert [each["name"] for each in report.findings] == ALL
    assert {frozenset(each) for each in report.findings} == {frozenset(("name", "ok", "text", "seconds", "limit"))}
    assert all(0 <= each["seconds"] < 300 for each in report.findings)
    ticks = report.ticks
    assert ticks["settings"] == f"USERNAME worker at {mock.url}"
    assert ticks["engine"].startswith("Docker {Version}, API {ApiVersion}".format(**docker_client.version()))
    info = docker_client.info()
    assert ticks["offer"] == (
        f"cpu_cores={info['NCPU']}, memory={info['MemTotal'] // 2**20 - 1024} MiB."
        " An account in the group `cloud` gets no jobs for the environment `local`."
    )
    assert ticks["storage"].startswith("1 MiB up with ")
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".lock"}
    assert [each.query for each in mock.requests("GET", "/jobs")] == [{"memory": ["x"]}]
    new = probes(docker_client) - before  # those of other tests that run now go, too
    wait_until(lambda: not new & probes(docker_client), "each new container of a check to be gone")


def test_a_line_for_each_is_printed_with_a_tick_a_name_and_the_seconds(
    mock: Platform, probe_image: str, tmp_path: Path
) -> None:
    done = run_check(environment=settings_of(mock, tmp_path / "data"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[2:21].strip() for line in lines] == ALL
    assert all(line.startswith("✓ ") and " s  " in line for line in lines)


def test_a_fixed_token_and_s3_are_as_good(check: Check, mock: Platform) -> None:
    mock.configure(storage="s3")
    report = check(USERNAME=None, PASSWORD=None, ACCESS_TOKEN=TOKEN)
    assert (report.code, report.ticks["settings"]) == (0, f"ACCESS_TOKEN at {mock.url}")


def test_a_platform_without_a_file_to_try_is_as_good(check: Check, mock: Platform) -> None:
    mock.fault("/_probe", status=404)
    report = check()
    assert (report.code, report.ticks["storage"]) == (0, "this platform has no file to try it with")
