"""The metrics of `/metrics`, in Prometheus' text format: names and units by its conventions (docs/monitoring.md).

They are made of the recorder's numbers at each scrape: nothing is counted twice, and nothing grows.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from job_fetcher.core.events import JobEnd, Transfer
from job_fetcher.core.job import JobStatus
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import GpuState, Status

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "job_fetcher_"
_STAGES = (JobStatus.PREPROCESSING, JobStatus.RUNNING, JobStatus.POSTPROCESSING)


class Metrics:
    """The metrics of what `recorder` knows."""

    def __init__(self, recorder: Recorder) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(recorder))

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._registry)


class _Collector(Collector):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._recorder.status()
        yield from self._totals()
        yield from _gauges(status)
        if status.gpu is not None:
            yield from _of_gpu(status.gpu)

    def _totals(self) -> Iterator[Metric]:
        known = self._recorder
        jobs = CounterMetricFamily(f"{PREFIX}jobs", "Jobs that have left this worker, by their end.", labels=["end"])
        for end in JobEnd:
            jobs.add_metric([end.value], known.ends[end])
        yield jobs
        stages = SummaryMetricFamily(
            f"{PREFIX}stage_duration_seconds", "Time that jobs that are over spent in each stage.", labels=["stage"]
        )
        for stage in _STAGES:
            count, seconds = known.stage_seconds.get(stage, (0, 0.0))
            stages.add_metric([stage.value], count_value=count, sum_value=seconds)
        yield stages
        moved = CounterMetricFamily(
            f"{PREFIX}transferred_bytes",
            "Bytes of images and inputs that came, and of outputs and logs that were sent, repetitions included.",
            labels=["transfer"],
        )
        for transfer in Transfer:
            moved.add_metric([transfer.value], known.bytes_moved[transfer])
        yield moved
        yield CounterMetricFamily(f"{PREFIX}retries", "Requests that failed and were tried again.", value=known.retries)


def _gauges(status: Status) -> Iterator[Metric]:
    info = GaugeMetricFamily(f"{PREFIX}build_info", "1, with the version of the worker as a label.", labels=["version"])
    info.add_metric([status.worker_version], 1)
    yield info
    numbers: list[tuple[str, str, float | None]] = [
        (
            "start_time_seconds",
            "When the worker was started, since the epoch.",
            status.started_at.timestamp(),
        ),
        ("healthy", "1 if the loop and the keep-alives are alive, as /healthz says.", status.is_well),
        ("ready", "1 if the worker asks for jobs, or has one; 0 if there is a reason against it.", _is_ready(status)),
        ("busy", "1 if the worker has a job in hand.", status.job is not None),
        ("errors_in_a_row", "Jobs that ended as error, one after the other.", status.errors_in_a_row),
        ("poll_age_seconds", "Time since the platform last answered the question for a job.", status.polled_s_ago),
        (
            "keepalive_age_seconds",
            "Time since the platform last accepted a status of the job in hand; absent without a job.",
            _keepalive_age_s(status),
        ),
        ("disk_free_bytes", "Free room on the disk of PATH_BASE.", status.disk_free_bytes),
        ("disk_reserve_bytes", "Room that the worker keeps free (MIN_FREE_GIB).", status.disk_reserve_bytes),
    ]
    yield from _present(numbers)


def _of_gpu(gpu: GpuState) -> Iterator[Metric]:
    last = gpu.samples[-1] if gpu.samples else None
    used_bytes = last.memory_used_mib << 20 if last and last.memory_used_mib is not None else None
    utilisation = last.utilisation_percent / 100 if last and last.utilisation_percent is not None else None
    yield from _present([
        ("gpu_up", "1 if the GPU answered when it was last asked.", gpu.answers),
        ("gpu_utilization_ratio", "Utilization of the GPU, 0 to 1.", utilisation),
        ("gpu_memory_used_bytes", "Memory of the GPU in use, by whomever.", used_bytes),
        ("gpu_memory_size_bytes", "Memory of the GPU.", gpu.memory_mib << 20),
        ("gpu_temperature_celsius", "Temperature of the GPU.", last.temperature_celsius if last else None),
    ])  # fmt: skip


def _present(numbers: list[tuple[str, str, float | None]]) -> Iterator[Metric]:
    """Those that are known: what is not known is absent, and not 0."""
    for name, help_text, value in numbers:
        if value is not None:
            yield GaugeMetricFamily(PREFIX + name, help_text, value=float(value))


def _is_ready(status: Status) -> bool:
    return status.job is not None or status.reason_against is None


def _keepalive_age_s(status: Status) -> float | None:
    """While no status of the job was accepted yet, the time since the job began."""
    if status.job is None:
        return None
    return status.job.seconds if status.status_heard_s_ago is None else status.status_heard_s_ago
