"""What a first start gets wrong with the GPU: seen by the worker (NVML is a stub), and by a job's container."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from job_fetcher.workspace.workspace import Workspace
from tests.preflight.conftest import IMAGE, LABEL, Check, run_check, settings_of
from tests.preflight.test_troubleshooting import between
from tests.support.gpu_hook import FAILURE, NAME, GpuHook
from tests.support.images import add_image, shell_files
from tests.support.nvml import Gpu, NvmlStub
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.platform import Platform

CARD, OTHER = Gpu(), Gpu("GPU-2", "NVIDIA GeForce RTX 4090", 24564, 1, 8)
SET_UP = "nvidia-ctk runtime configure --runtime=docker, then systemctl restart docker"


class GpuEngine(NamedTuple):
    url: str
    hook: GpuHook


@pytest.fixture(scope="module")
def gpu_engine(needs_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuEngine]:
    """An engine with a stand-in for NVIDIA's toolkit, which shows its containers what we want."""
    hook = GpuHook(tmp_path_factory.mktemp("hook"))
    with own_engine(hook.folder) as engine:
        yield GpuEngine(with_image(engine), hook)


@contextmanager
def no_gpu_hook(folder: Path) -> Iterator[None]:
    """A PATH with all that this one has, but for NVIDIA's hook: for an engine that is started meanwhile."""
    folder.mkdir()
    for place in filter(Path.is_dir, map(Path, os.environ["PATH"].split(":"))):
        for tool in place.iterdir():
            if tool.name != NAME and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", str(folder))
        yield


def with_image(engine: OwnEngine) -> str:
    add_image(engine.client, f"{IMAGE}-gpu", shell_files(), LABEL)
    return engine.url


def test_card_that_containers_see_is_offered(check: Check, nvml: NvmlStub, gpu_engine: GpuEngine) -> None:
    nvml.show(CARD)
    gpu_engine.hook.give()
    report = check(DOCKER_HOST=gpu_engine.url, **nvml.environment)
    assert (report.code, report.crosses) == (0, [])
    assert report.ticks["GPU"] == f"NVIDIA RTX A4000, 16376 MiB, {CARD.uuid}"
    assert report.ticks["GPU in a container"] == f"a container sees {CARD.uuid}"
    assert report.ticks["offer"].endswith(
        " MiB, gpu_mem=16376 MiB, gpu_model=NVIDIA RTX A4000, gpu_archi=Ampere. "
        "An account in the group `cloud` gets no jobs for the environment `local`."
    )


def test_readme_shows_what_a_check_prints(
    mock: Platform, nvml: NvmlStub, gpu_engine: GpuEngine, tmp_path: Path
) -> None:
    """Line by line, but for numbers, paths and addresses."""
    nvml.show(CARD)
    gpu_engine.hook.give()
    settings = settings_of(mock, tmp_path / "data") | {"PASSWORD": "not-the-password", "DOCKER_HOST": gpu_engine.url}
    done = run_check(environment=settings | nvml.environment, cwd=tmp_path)
    shown = between("check").split("check\n", 1)[1].split("```")[0]
    assert without_values(shown) == without_values(done.stdout)


def without_values(lines: str) -> list[str]:
    lines = re.sub(r"USERNAME \w+ at", "USERNAME at", lines)
    return re.sub(r"https?://\S+|(?<=[ ])/\S+| *\d[\w.+~-]*", "…", lines).splitlines()


def test_first_card_of_several_is_used(check: Check, nvml: NvmlStub, gpu_engine: GpuEngine) -> None:
    nvml.show(CARD, OTHER)
    gpu_engine.hook.give()
    report = check(DOCKER_HOST=gpu_engine.url, **nvml.environment)
    assert report.code == 0
    assert report.ticks["GPU"].endswith(", the first of 2: start a worker for each of them")


def test_card_that_others_use(check: Check, nvml: NvmlStub, gpu_engine: GpuEngine, tmp_path: Path) -> None:
    """Unless a worker has it, for whose job they would be taken."""
    nvml.show(Gpu(used_mib=900))
    gpu_engine.hook.give()
    settings = {"DOCKER_HOST": gpu_engine.url, "GPU_BUSY_MIB": "500"}
    sentence = check(**settings, **nvml.environment).sentence("now")
    assert sentence == "The worker asks for no job: other programs use 900 MiB of the GPU, more than GPU_BUSY_MIB (500)"
    worker = Workspace(tmp_path / "data", owner="a worker")
    assert worker.claim_gpu(CARD.uuid)
    assert check(**settings, **nvml.environment).code == 0


def test_card_that_containers_do_not_see(check: Check, nvml: NvmlStub, gpu_engine: GpuEngine) -> None:
    nvml.show(CARD)
    gpu_engine.hook.give(OTHER.uuid)
    assert check(DOCKER_HOST=gpu_engine.url, **nvml.environment).sentence("GPU in a container") == (
        f"a container with {CARD.uuid} sees other GPUs, or none - set up NVIDIA's container toolkit anew: {SET_UP}"
    )


def test_card_that_no_container_gets(check: Check, nvml: NvmlStub, gpu_engine: GpuEngine) -> None:
    nvml.show(CARD)
    gpu_engine.hook.fail()
    sentence = check(DOCKER_HOST=gpu_engine.url, **nvml.environment).sentence("GPU in a container")
    assert FAILURE in sentence
    assert sentence.endswith(f" - set up NVIDIA's container toolkit anew: {SET_UP}")


def test_toolkit_that_is_missing(check: Check, nvml: NvmlStub, tmp_path: Path) -> None:
    nvml.show(CARD)
    with no_gpu_hook(tmp_path / "tools"), own_engine() as engine:
        sentence = check(DOCKER_HOST=with_image(engine), **nvml.environment).sentence("GPU in a container")
    assert "could not select device driver" in sentence
    assert sentence.endswith(f" - install NVIDIA's container toolkit: {SET_UP}")


def test_driver_that_does_not_work(check: Check, nvml: NvmlStub) -> None:
    nvml.show(CARD, failures={"nvmlInit": 18})
    assert check(**nvml.environment).sentence("GPU") == (
        "The GPU's driver does not work (RM has detected an NVML/RM version mismatch): restart the machine, or install"
        " it anew"
    )


def test_machine_without_a_gpu(check: Check, nvml: NvmlStub) -> None:
    report = check(**nvml.environment)
    assert report.code == 0
    assert report.ticks["GPU"] == (
        "none. Jobs that need one can come all the same, since most jobs do not name it: allow only images that need"
        " none (ALLOWED_IMAGES). If this machine has one: install its driver and the toolkit, and add --gpus"
        " '\"device=0\"'"
    )
