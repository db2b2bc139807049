"""What has arrived is not sent again by the next start, also if the last line about it was cut."""

import pytest

from tests.recovery.support import assert_finished_once, kill, wait_for_next_look
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

FOLDERS = [f"f{number}" for number in range(4)]
LINE = " && ".join(f"mkdir /files/output/{name} && echo {name} > /files/output/{name}/x" for name in FOLDERS)
OUTPUTS = {f"output/output/{name}/x": f"{name}\n".encode() for name in FOLDERS}


def _uploads(mock: Platform, name: str) -> int:
    return len(mock.requests("POST", f"*/output/{name}/"))


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_what_has_arrived_is_not_sent_again(mock: Platform, worker: WorkerProcess, job_image: str, cut: int) -> None:
    """Killed when all but the last folder have arrived; `cut` bytes of the ledger are lost with the power."""
    fault = mock.fault("/store/*/f3/", "POST", hang=True)
    job = mock.submit(LINE, image=job_image, up={"output": "output"})
    mock.wait_until(lambda: fault.matched > 0 and len(mock.outputs(job)) == 3, "all but one to arrive")
    ledger = worker.base / job / "uploads.jsonl"
    mock.wait_until(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") == 3, "three lines about it")
    kill(worker)
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[: len(whole) - cut])
    kept = [name for name in FOLDERS if f"/{name}/".encode() in b"\n".join(ledger.read_bytes().split(b"\n")[:-1])]
    mock.heal()
    before = {name: _uploads(mock, name) for name in FOLDERS}
    worker.start()
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS
    assert {name for name in FOLDERS if _uploads(mock, name) == before[name]} == set(kept)
    assert len(kept) >= 2
    wait_for_next_look(mock)
    assert worker.stop() == 0
    worker.assert_nothing_left()
