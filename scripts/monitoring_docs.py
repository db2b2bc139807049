"""Generate the tables of docs/monitoring.md from the code, or check that they are current.

python -m scripts.monitoring_docs --write
python -m scripts.monitoring_docs --check   # exit code 1 if the page is not current
python -m scripts.monitoring_docs --metrics # what a scrape gets, for promtool (scripts/promtool.sh)
python -m scripts.monitoring_docs --rules   # the alerts of the page, for the same
"""

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from job_fetcher.core import events
from job_fetcher.core.events import GpuFound
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.monitoring.metrics import Metrics
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import GpuSample, GpuState, JobNow, PastJob, Status

PAGE = Path(__file__).resolve().parent.parent / "docs" / "monitoring.md"


def busy_recorder() -> Recorder:
    """A recorder that knows all there is to know: a job in hand, and a GPU."""
    recorder = Recorder(worker_version="1", free_bytes=lambda: 1)
    sample = GpuSample(at=datetime.now(UTC), utilisation_percent=50, memory_used_mib=1, temperature_celsius=40)
    recorder.gpu_state = lambda: GpuState(model="GPU", memory_mib=2, answers=True, samples=(sample,))
    told: list[events.Event] = [
        GpuFound("GPU-1", "GPU", 2),
        events.Polled(),
        events.JobBegan(Job(id="1", raw={}), Path("log")),
        events.StageBegan("1", JobStatus.RUNNING),
        events.StatusHeard("1"),
    ]
    for each in told:
        recorder(each)
    return recorder


def metrics() -> Iterator[str]:
    """The rows of the table of metrics."""
    yield "| metric | type | meaning |"
    yield "|---|---|---|"
    for family in text_string_to_metric_families(Metrics(busy_recorder()).text().decode()):
        labels = sorted({label for sample in family.samples for label in sample.labels})
        name = family.name + ("_total" if family.type == "counter" else "")
        shown = f"`{name}`" + (f" by {', '.join(f'`{label}`' for label in labels)}" if labels else "")
        yield f"| {shown} | {family.type} | {family.documentation} |"


def rules(page: str) -> str:
    """The alerts of the page, as a file of rules for Prometheus."""
    blocks: list[str] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return next(block for block in blocks if "alert:" in block)


def fields(model: type[BaseModel]) -> Iterator[str]:
    """The rows of the table of a model."""
    yield "| field | meaning |"
    yield "|---|---|"
    for name, field in model.model_fields.items():
        yield f"| `{name}` | {field.description} |"


def current(text: str) -> str:
    """`text`, the page, with the tables as they should be."""
    tables = {"metrics": metrics(), "status": fields(Status), "job": fields(JobNow), "gpu": fields(GpuState)}
    for mark, rows in {**tables, "past": fields(PastJob)}.items():
        table = f"<!-- {mark} -->\n" + "\n".join(rows) + f"\n<!-- {mark} -->"
        text = re.sub(rf"<!-- {mark} -->.*<!-- {mark} -->", lambda _, table=table: table, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the page")
    action.add_argument("--check", action="store_true", help="check the page")
    action.add_argument("--metrics", action="store_true", help="print all metrics as a scrape gets them")
    action.add_argument("--rules", action="store_true", help="print the alerts of the page")
    options = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = current(before)
    if options.metrics:
        print(Metrics(busy_recorder()).text().decode(), end="")
    elif options.rules:
        print(rules(before), end="")
    elif options.write:
        PAGE.write_text(after, encoding="utf-8")
    elif before != after:
        print(f"{PAGE} is not current: python -m scripts.monitoring_docs --write")
        sys.exit(1)


if __name__ == "__main__":
    main()
