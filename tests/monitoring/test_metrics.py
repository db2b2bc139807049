"""The metrics: well-formed, named by Prometheus' conventions, documented, cheap; alerts and dashboard use them."""

import gc
import json
import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families
from scripts import monitoring_docs
from scripts.docker import ROOT

from job_fetcher.core.events import JobBegan, JobEnd, JobEnded, Moved, StageBegan, Transfer
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.monitoring.metrics import Metrics
from job_fetcher.monitoring.recorder import Recorder

PAGE = monitoring_docs.PAGE.read_text(encoding="utf-8")
BASE_UNITS = ("seconds", "bytes", "ratio", "celsius", "info", "total")


def families(recorder: Recorder) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples by name, each by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(Metrics(recorder).text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_page_has_the_tables_of_the_code() -> None:
    assert monitoring_docs.current(PAGE) == PAGE, "run python -m scripts.monitoring_docs --write"


def test_names_units_and_help_are_those_of_the_conventions() -> None:
    text = Metrics(monitoring_docs.busy_recorder()).text().decode()
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"job_fetcher_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        assert not {"gauge", "counter", "summary", "kib", "mib", "ms", "percent"} & set(family.name.split("_"))
        assert all(re.fullmatch("[a-z]+", label) for sample in family.samples for label in sample.labels)
        if family.type == "counter":
            assert [sample.name for sample in family.samples if not sample.name.endswith("_total")] == []


def test_what_is_not_known_is_absent_and_not_0() -> None:
    found = families(Recorder())
    assert "job_fetcher_keepalive_age_seconds" not in found
    assert "job_fetcher_poll_age_seconds" not in found
    assert not [name for name in found if "gpu" in name]
    assert found["job_fetcher_busy"] == {(): 0}


@pytest.mark.parametrize("end", list(JobEnd))
def test_jobs_are_counted_by_their_end_with_their_stages_and_bytes(end: JobEnd) -> None:
    recorder = Recorder()
    for number in ("1", "2"):
        recorder(JobBegan(Job(id=number, raw=None), Path("log")))
        recorder(StageBegan(number, JobStatus.PREPROCESSING))
        recorder(Moved(Transfer.DOWNLOAD, 5, number))
        recorder(StageBegan(number, JobStatus.RUNNING))
        recorder(JobEnded(number, end, "Over."))
        recorder(JobEnded(number, end, "Told twice."))
    found = families(recorder)
    assert {labels: value for labels, value in found["job_fetcher_jobs_total"].items() if value} == {(end,): 2}
    assert found["job_fetcher_stage_duration_seconds_count"] == {
        ("preprocessing",): 2, ("running",): 2, ("postprocessing",): 0,
    }  # fmt: skip
    assert found["job_fetcher_transferred_bytes_total"][("download",)] == 10
    assert found["job_fetcher_errors_in_a_row"] == {(): 2 if end is JobEnd.ERROR else 0}


def test_scrapes_leave_nothing_behind() -> None:
    """`scripts/live_log.sh` looks at the memory of a worker that is scraped a thousand times."""
    metrics = Metrics(monitoring_docs.busy_recorder())
    metrics.text()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(100):
        metrics.text()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_alerts_and_dashboard_name_metrics_that_there_are() -> None:
    known = set(families(monitoring_docs.busy_recorder()))
    alerts = yaml.safe_load(monitoring_docs.rules(PAGE))["groups"][0]["rules"]
    assert len(alerts) == 4
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in [*(each["expr"] for each in alerts), *asked]:
        named = set(re.findall(r"job_fetcher_\w+", expression))
        assert named
        assert named <= known, expression
