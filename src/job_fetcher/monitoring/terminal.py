"""`job-fetcher status`: what the page shows, in a terminal."""

import sys
import time
from pathlib import Path, PurePath

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from job_fetcher.core.events import JobEnd
from job_fetcher.monitoring import status_file, words
from job_fetcher.monitoring.history import HISTORY, History
from job_fetcher.monitoring.snapshot import GpuState, JobNow, PastJob, Status
from job_fetcher.transfer.upload_report import in_words

EVERY_S = 1.0
SHOWN = 10
"""Jobs of the history."""
NOT_WELL = 1
"""The exit code for a worker that does not run, or does not get on."""
_ENDS = {JobEnd.FINISHED: "green", JobEnd.ERROR: "red"}
_BLOCKS = "▁▂▃▄▅▆▇█"


def show(path_base: PurePath, *, as_json: bool, watch: bool) -> int:
    """Print the status of the worker of `path_base`, once or until it is interrupted. Returns the exit code."""
    file, history = status_file.path_for(path_base), Path(path_base) / HISTORY
    try:
        status = status_file.read(file)
    except status_file.NoStatus as sentence:
        print(sentence, file=sys.stderr)  # noqa: T201
        return NOT_WELL
    if as_json:
        print(status.model_dump_json(indent=2))  # noqa: T201
        return 0 if status.is_well else NOT_WELL
    console = Console()
    if not watch:
        console.print(rendered(status, History(history, tells=False).last(SHOWN)))
        return 0 if status.is_well else NOT_WELL
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(rendered(status, History(history, tells=False).last(SHOWN)), refresh=True)
            time.sleep(EVERY_S)
            try:
                status = status_file.read(file)
            except status_file.NoStatus as sentence:
                status = status.model_copy(update={"is_well": False, "doing": f"{sentence}."})


def rendered(status: Status, past: list[PastJob]) -> RenderableType:
    """The status as a person reads it. Names that others chose are text: none of them is markup."""
    parts: list[RenderableType] = [Text(status.doing, style="bold green" if status.is_well else "bold red")]
    if not status.is_well:
        parts.append(Text("The worker does not get on.", style="bold red"))
    if status.job is not None:
        parts.append(_job("job", status.job))
    if status.finishing is not None:
        parts.append(_job("job before it", status.finishing))
    parts.append(_facts(status))
    if past:
        parts.append(_past(past))
    return Group(*parts)


def _job(title: str, job: JobNow) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    whose = [f"user's job {job.user_job_id}"] if job.user_job_id is not None else []
    named = ", ".join([f"job {job.job_id}", *whose, *filter(None, [job.application or job.image])])
    table.add_row(title, Text(named))
    stages = ", ".join(f"{each.stage} {words.duration(each.seconds)}" for each in job.stages)
    table.add_row("stages", Text(stages))
    for each in job.progress:
        table.add_row(each.transfer.value, Text(words.progress(each)))
        table.add_row("", ProgressBar(total=each.total_bytes, completed=each.done_bytes, width=40))
    return table


def _facts(status: Status) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("worker", Text(f"{status.worker_version}, {status.account}"))
    table.add_row("offer", Text(", ".join(f"{name} {value}" for name, value in status.offer.items())))
    if status.polled_s_ago is not None:
        table.add_row("platform", Text(f"answered {words.duration(status.polled_s_ago)} ago"))
    if status.disk_free_bytes is not None:
        table.add_row("disk", Text(f"{in_words(status.disk_free_bytes)} free"))
    if status.gpu is not None:
        table.add_row("GPU", Text(_gpu(status.gpu)))
    return table


def _gpu(gpu: GpuState) -> str:
    if not gpu.answers:
        return f"{gpu.model}: it does not answer"
    percents = [each.utilisation_percent for each in gpu.samples[-40:] if each.utilisation_percent is not None]
    bars = "".join(_BLOCKS[min(each, 99) * len(_BLOCKS) // 100] for each in percents)
    return f"{gpu.model} {bars} {percents[-1]} %" if percents else gpu.model


def _past(past: list[PastJob]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), title="The last jobs", title_justify="left")
    for name in ("job", "end", "took", ""):
        table.add_column(name, overflow="fold")
    for each in past:
        took = words.duration((each.ended_at - each.began_at).total_seconds())
        end = Text(each.end.value, style=_ENDS.get(each.end, "yellow"))
        table.add_row(Text(each.job_id), end, took, Text(each.sentence))
    return table
