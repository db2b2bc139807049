"""What a first start gets wrong with the engine, the folder and the disk."""

import json
import socket
from pathlib import Path
from time import monotonic

import docker
import pytest

from tests.preflight.conftest import Check
from tests.support.raw_server import answer, raw_server

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
READING = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""May read Python wherever that is, and write nowhere."""


def test_no_socket(check: Check, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    assert check(DOCKER_HOST=nowhere).sentence("engine") == (
        f"The Docker engine cannot be used: there is no socket {nowhere}: in a container, add -v"
        " /var/run/docker.sock:/var/run/docker.sock; outside of one, install and start Docker"
    )


def test_socket_that_this_user_may_not_use(check: Check, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    assert check(run_by=(*NOBODY, *READING)).sentence("engine") == (
        "The Docker engine cannot be used: this user may not use its socket /var/run/docker.sock: add the user to the"
        " group 'docker', or run as root. In a container leave out --user. Where Docker maps users or SELinux is"
        " on, add --userns=host or --security-opt label=disable"
    )


def test_engine_that_was_stopped(check: Check, tmp_path: Path) -> None:
    unix_listener(left := tmp_path / "left.sock").close()
    assert check(DOCKER_HOST=f"unix://{left}").sentence("engine") == (
        f"The Docker engine cannot be used: nothing listens at unix://{left}: start Docker, or set DOCKER_HOST to where"
        " it listens"
    )


def test_socket_that_is_a_folder(check: Check, tmp_path: Path) -> None:
    """Docker has made it, for a `-v` of a socket that was not there."""
    (folder := tmp_path / "docker.sock").mkdir()
    assert check(DOCKER_HOST=f"unix://{folder}").sentence("engine") == (
        f"The Docker engine cannot be used: unix://{folder} is a folder, which Docker makes where the host has no such"
        " socket: remove it, and mount the socket that `docker context inspect` names"
    )


def test_certificates_that_a_shell_still_asks_for(check: Check, tmp_path: Path) -> None:
    assert check(DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path)).sentence("engine") == (
        "The Docker engine cannot be used: DOCKER_TLS_VERIFY is set, and DOCKER_CERT_PATH has no certificates: unset"
        " both for an engine of this host"
    )


def test_engine_that_hangs_is_waited_for_no_longer_than_10_s(check: Check, tmp_path: Path) -> None:
    began = monotonic()
    with raw_server(listener=unix_listener(tmp_path / "silent.sock")) as silent:
        sentence = check(DOCKER_HOST=silent.url).sentence("engine")
    assert sentence == f"The Docker engine cannot be used: it does not answer at {silent.url}: restart Docker"
    assert monotonic() - began < 50, "docker-py itself waits for 60 s"


@pytest.mark.parametrize("api", ["1.24", "1.39", "1.40"])
def test_engine_that_is_too_old(check: Check, tmp_path: Path, api: str) -> None:
    version = json.dumps({"Version": "19.03.1", "ApiVersion": api, "MinAPIVersion": "1.12"}).encode()
    answers = (answer(version, content_type="application/json"), answer(b"OK"))
    with raw_server(*answers, listener=unix_listener(tmp_path / "old.sock")) as old:
        sentence = check(DOCKER_HOST=old.url).sentence("engine")
    assert sentence == f"The Docker engine is too old (API {api}): install Docker 20.10 or newer"


def test_network_that_there_is_not(check: Check) -> None:
    assert check(JOB_NETWORK="lab-net").sentence("network") == (
        "JOB_NETWORK (lab-net) is no network of the Docker engine: write one that `docker network ls` shows, or make it"
        " (docker network create lab-net)"
    )


def test_network_of_the_host_by_another_name(check: Check, docker_client: docker.DockerClient) -> None:
    own = docker_client.networks.list(names=["host"])[0].id
    sentence = check(JOB_NETWORK=own).sentence("network")
    assert sentence == f"JOB_NETWORK ({own}) is the host's own network, which jobs do not get"


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_network_that_is_always_there(check: Check, network: str) -> None:
    report = check(JOB_NETWORK=network)
    assert (report.code, report.ticks["network"]) == (0, f"{network}: a container in it starts and ends")


def test_relative_host_path(check: Check) -> None:
    report = check(PATH_HOST_BASE="data")
    assert report.sentence("settings") == "PATH_HOST_BASE (is 'data'): write an absolute path, such as /data"


def test_folder_of_the_host_that_is_another_one(check: Check, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert check(PATH_HOST_BASE=f"{tmp_path}/other").sentence("folder on the host").startswith(
        f"{tmp_path}/other of the engine's host is not the folder that the worker sees as PATH_BASE ({tmp_path}/data)."
        f" In a container mount it with -v {tmp_path}/other:{tmp_path}/data and leave PATH_HOST_BASE out"
    )  # fmt: skip
    assert list((tmp_path / "other").iterdir()) == []


def test_folder_of_the_host_by_another_name_is_the_same(check: Check, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert check(PATH_HOST_BASE=f"{tmp_path}/link").code == 0


def test_folder_that_is_not_on_the_host(check: Check, tmp_path: Path) -> None:
    sentence = check(PATH_HOST_BASE=f"{tmp_path}/none").sentence("folder on the host")
    assert sentence.startswith(f"{tmp_path}/none of the engine's host is not the folder that the worker sees as PATH_")
    assert not (tmp_path / "none").exists()


def test_folder_that_this_user_may_not_write_to(check: Check, tmp_path: Path) -> None:
    group = Path("/var/run/docker.sock").stat().st_gid
    (tmp_path / "data").mkdir()
    user = (*NOBODY[:-1], "--groups", str(group), *READING)
    assert check(run_by=user).sentence("folder") == (
        f"PATH_BASE ({tmp_path}/data) cannot be written to: Permission denied - let this user write there, or set"
        " another"
    )


def test_folder_that_only_the_worker_sees(check: Check, tmp_path: Path) -> None:
    """As a service with PrivateTmp, or the engine of a snap: nothing is set wrongly."""
    alone = ("unshare", "--mount", "bash", "-euc", f'mount -t tmpfs none {tmp_path}/data; exec "$@"', "bash")
    (tmp_path / "data").mkdir()
    sentence = check(run_by=alone).sentence("folder on the host")
    assert sentence.startswith(f"{tmp_path}/data of the engine's host is not the folder that the worker sees as ")


def test_disk_that_is_full(check: Check, small_disk: Path) -> None:
    assert check(MIN_FREE_GIB="0.01").sentence("disk") == (
        f"Only 0.0 GiB free for PATH_BASE ({small_disk}), less than MIN_FREE_GIB (0.01): make room, move it to a larger"
        " disk, or lower MIN_FREE_GIB"
    )


def test_more_memory_kept_back_than_there_is(check: Check) -> None:
    sentence = check(MEMORY_RESERVE_MIB="100000000").sentence("offer")
    assert sentence.startswith("MEMORY_RESERVE_MIB (100000000) is more than the host has (")


def test_worker_that_is_paused(check: Check, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".paused").touch()
    assert check().sentence("now") == "The worker asks for no job: the worker is paused, until `resume`"


def test_hours_that_are_quiet(check: Check) -> None:
    sentence = check(QUIET_HOURS="00:00-24:00").sentence("now")
    assert sentence == "The worker asks for no job: these are quiet hours (QUIET_HOURS)"


def unix_listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener
