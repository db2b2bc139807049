"""When a pull is given up although no registry has said anything: the engine itself fails."""

from pathlib import Path

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable
from job_fetcher.core.retry import ENGINE_ERRORS
from job_fetcher.engine import client as engine
from job_fetcher.engine.images import Images
from job_fetcher.engine.pull import Pull
from job_fetcher.workspace.workspace import Workspace


@pytest.fixture
def images(client: engine.Client, tmp_path: Path) -> Images:
    return Images(client, Workspace(tmp_path / "data", "me"), 0)


@pytest.mark.parametrize(
    "before",
    [[], [None] * 20, [500] * 4 + [None], [500, None] * 10],
    ids=["nothing", "a long restart", "four answers, then a restart", "in turns"],
)
def test_a_pull_is_given_up_after_five_answers_of_500_in_a_row(
    images: Images, waits: list[float], monkeypatch: pytest.MonkeyPatch, before: list[int | None]
) -> None:
    statuses = iter(before + [500] * 100)

    def run(_: Pull) -> None:
        raise EngineUnavailable("trouble", status=next(statuses))

    monkeypatch.setattr(Pull, "run", run)
    with pytest.raises(EngineUnavailable):
        images.pull("image", cancelled=Cancellation())
    assert len(waits) == len(before) + ENGINE_ERRORS - 1
