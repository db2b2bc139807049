"""The log of a container where the owner's own options exclude those of the worker."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from job_fetcher.engine import client as engine
from job_fetcher.engine import isolation, launch, probe
from tests.support.fake_engine import FakeEngine

CREATIONS: dict[str, Callable[[engine.Client, Path], object]] = {
    "trial of the init": lambda client, _: launch.has_init(client, "image"),
    "probe": lambda client, _: probe.run(client, "image", "true"),
    "probe of the folder": lambda client, folder: probe.same_folder(client, PurePosixPath(folder), folder),
}


@pytest.mark.parametrize("create", CREATIONS.values(), ids=CREATIONS)
def test_engine_that_refuses_our_logging_driver_for_its_owner_s_options_gets_another(
    fake: FakeEngine,
    client: engine.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    create: Callable[[engine.Client, Path], object],
) -> None:
    monkeypatch.setattr(probe, "image", lambda _: "image")
    fake.max_buffer_size = True
    create(client, tmp_path)
    logs = [each["HostConfig"]["LogConfig"] for each in fake.created]
    assert {(each["Type"], each["Config"]["mode"]) for each in logs} == {("local", "blocking")}
    assert isolation.ISOLATION["log_config"]["Type"] == "json-file"  # other engines' containers have what they had
