"""What of this machine is offered: its GPU as NVML tells, in the words that the API knows."""

from dataclasses import replace

import pynvml
import pytest

from job_fetcher.core.errors import GpuError, GpuUnavailable
from job_fetcher.engine import hardware
from job_fetcher.engine.hardware import Gpu, Machine, find_gpu, offer
from tests.support import nvml as stub
from tests.support.nvml import NvmlStub

MACHINE = Machine(cpu_cores=8, memory_mib=32_000)
A4000 = Gpu(uuid="GPU-1", model="NVIDIA RTX A4000", memory_mib=16376, archi="Ampere")


@pytest.fixture
def cards(nvml: NvmlStub, monkeypatch: pytest.MonkeyPatch) -> NvmlStub:
    """The cards of this very process."""
    nvml.preload()
    monkeypatch.setenv("NVML_STUB", str(nvml.description))
    return nvml


def test_a_card_is_described_as_the_driver_does(cards: NvmlStub) -> None:
    cards.show(stub.Gpu(uuid="GPU-1", name="NVIDIA RTX A4000", memory_mib=16376, used_mib=900))
    assert find_gpu() == A4000


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (2, "Kepler"),
        (3, "Maxwell"),
        (4, "Pascal"),
        (5, "Volta"),
        (6, "Turing"),
        (7, "Ampere"),
        (8, "Ada"),
        (9, "Hopper"),
    ],
)
def test_architectures_have_the_names_that_users_type(cards: NvmlStub, number: int, name: str) -> None:
    cards.show(stub.Gpu(architecture=number))
    found = find_gpu()
    assert found is not None
    assert found.archi == name


def test_the_first_of_several_cards_is_used_and_that_is_said(cards: NvmlStub, caplog: pytest.LogCaptureFixture) -> None:
    cards.show(stub.Gpu(uuid="GPU-1"), stub.Gpu(uuid="GPU-2"))
    found = find_gpu()
    assert found is not None
    assert found.uuid == "GPU-1"
    assert "This worker sees 2 GPUs and uses the first" in caplog.text


@pytest.mark.parametrize(
    "function", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"]
)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, pynvml.NVML_ERROR_GPU_IS_LOST])
def test_driver_that_fails_is_not_taken_for_a_machine_without_a_card(cards: NvmlStub, function: str, code: int) -> None:
    cards.show(stub.Gpu(), failures={function: code})
    with pytest.raises(GpuError, match="The GPU's driver does not work"):
        find_gpu()


def test_card_that_is_cut_into_parts_is_not_offered_whole(cards: NvmlStub) -> None:
    cards.show(stub.Gpu(mig=True))
    with pytest.raises(GpuError, match="MIG"):
        find_gpu()


def test_no_card_no_driver_and_no_library_are_no_error(cards: NvmlStub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_gpu() is None
    cards.show(stub.Gpu(), failures={"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED})
    assert find_gpu() is None

    def missing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert find_gpu() is None


@pytest.mark.parametrize("failure", [{"nvmlDeviceGetArchitecture": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}, {}])
def test_a_driver_that_does_not_know_the_architecture_offers_none(cards: NvmlStub, failure: dict[str, int]) -> None:
    cards.show(stub.Gpu(architecture=0xFFFFFFFF), failures=failure)
    found = find_gpu()
    assert found is not None
    assert found.archi is None
    assert "gpu_archi" not in offer(MACHINE, found)


@pytest.mark.parametrize(
    ("card", "used_mib"),
    [
        (stub.Gpu(), 0),
        (stub.Gpu(reserved_mib=450), 0),
        (stub.Gpu(reserved_mib=450, used_mib=12000), 12000),
        (stub.Gpu(used_mib=450, processes=[(1, 100)], graphics=[(2, 50)]), 150),
        (stub.Gpu(used_mib=450, processes=[(1, 100)], graphics=[(1, 100)]), 100),
        (stub.Gpu(used_mib=450, processes=[(1, 100), (2, -1)]), 450),
    ],
    ids=["nobody", "the driver itself", "others that a container does not see", "two", "one for both", "not told"],
)
def test_what_processes_hold_of_a_card_is_counted_once(cards: NvmlStub, card: stub.Gpu, used_mib: int) -> None:
    cards.show(stub.Gpu(uuid="GPU-other", processes=[(9, 9000)]), card)
    assert hardware.used_mib(replace(A4000, uuid=card.uuid)) == used_mib


@pytest.mark.parametrize(
    ("failures", "used_mib"),
    [
        ({"nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_NOT_SUPPORTED}, 450),
        (
            {
                "nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_NOT_SUPPORTED,
                "nvmlDeviceGetMemoryInfo_v2": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            },
            750,
        ),
    ],
    ids=["no processes", "nor what the driver keeps for itself"],
)
def test_all_that_is_used_counts_where_the_driver_does_not_tell_more(
    cards: NvmlStub, failures: dict[str, int], used_mib: int
) -> None:
    card = stub.Gpu(used_mib=450, reserved_mib=300, processes=[(1, 100)])
    cards.show(card, failures=failures)
    assert hardware.used_mib(replace(A4000, uuid=card.uuid)) == used_mib


@pytest.mark.parametrize(
    ("uuid", "failures"),
    [
        (A4000.uuid, {}),
        (stub.Gpu().uuid, {"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}),
        (stub.Gpu().uuid, {"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_GPU_IS_LOST}),
    ],
    ids=["no such card", "no driver", "card is lost"],
)
def test_a_card_that_does_not_answer_any_more_is_told_from_one_that_nobody_uses(
    cards: NvmlStub, uuid: str, failures: dict[str, int]
) -> None:
    cards.show(stub.Gpu(), failures=failures)
    with pytest.raises(GpuUnavailable):
        hardware.used_mib(replace(A4000, uuid=uuid))


def test_the_offer_has_the_parameters_of_the_contract() -> None:
    """P6: `gpu_memory` was sent instead of `gpu_mem`: jobs that ask for GPU memory never ran on lab machines."""
    assert offer(MACHINE, None) == {"cpu_cores": 8, "memory": 32_000}
    card = {"gpu_mem": 16376, "gpu_model": "NVIDIA RTX A4000", "gpu_archi": "Ampere"}
    assert offer(MACHINE, A4000) == {"cpu_cores": 8, "memory": 32_000} | card


def test_names_that_users_type_replace_the_drivers() -> None:
    named = offer(MACHINE, A4000, model="A4000", archi="ampere")
    assert (named["gpu_model"], named["gpu_archi"]) == ("A4000", "ampere")
    assert offer(MACHINE, None, model="A4000", archi="ampere") == offer(MACHINE, None), "but make no card"
