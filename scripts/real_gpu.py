"""What the worker reads of a real GPU beside what `nvidia-smi` says of it: idle, at work, and in a job's report.

`python -m scripts.real_gpu` takes a machine with an NVIDIA GPU and a Python that has PyTorch (`--python`), or another
command that keeps the GPU at work (`--load`). It needs no Docker engine: the job's command runs on the machine itself.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.fake_engine import fake_engine

from job_fetcher.engine import gpu_sample, hardware
from job_fetcher.engine.hardware import Gpu
from scripts.benchmark.stage import ROOT, Mock, Worker, wait_for

LOAD = """
import time, torch
held = torch.zeros(4 << 30, dtype=torch.uint8, device='cuda')
one = torch.rand(8192, 8192, device='cuda', dtype=torch.bfloat16)
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    for _ in range(20):
        one @ one
    torch.cuda.synchronize()
"""
FIELDS = ("memory.used", "utilization.gpu", "temperature.gpu")
BUSY_MIB = 2048
DRIVER = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "NVML_STUB") if name in os.environ}
"""Where the driver's libraries are, if not where the loader looks by itself."""
LOOKS = 100


def ask(*fields: str) -> list[str]:
    """What `nvidia-smi` says of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return [each.strip() for each in said.stdout.strip().split(",")]


def row(what: str, worker: object, nvidia_smi: object) -> None:
    print(f"| {what} | {worker} | {nvidia_smi} |", flush=True)


def compare(gpu: Gpu, when: str) -> None:
    """What changes, at one moment."""
    used, utilisation, temperature = ask(*FIELDS)
    sample = gpu_sample.sample(gpu.uuid)
    row(f"{when}: memory in use, MiB", sample.memory_used_mib, used)
    row(f"{when}: … of processes, for GPU_BUSY_MIB", hardware.used_mib(gpu), "")
    row(f"{when}: utilisation, %", sample.utilisation_percent, utilisation)
    row(f"{when}: temperature, °C", sample.temperature_celsius, temperature)


def cost_of_a_look(gpu: Gpu) -> float:
    """Milliseconds of a sample, with NVML loaded, as the worker has it while a command runs."""
    with hardware.nvml():
        began = time.perf_counter()
        for _ in range(LOOKS):
            gpu_sample.sample(gpu.uuid)
        return (time.perf_counter() - began) / LOOKS * 1000


@contextmanager
def working(command: list[str]) -> Iterator[None]:
    """In this block the GPU is at work."""
    process = subprocess.Popen(command)  # noqa: S603
    try:
        wait_for(lambda: int(ask("memory.used")[0]) > BUSY_MIB, "the load to have its memory", every_s=0.5)
        wait_for(lambda: int(ask("utilization.gpu")[0]) > 50, "the load to be at work", every_s=0.5)
        yield
    finally:
        process.terminate()
        process.wait()


def watch(ended: threading.Event, found: list[tuple[int, int]]) -> None:
    """Note memory and utilisation, some times a second, by `nvidia-smi`."""
    while not ended.is_set():
        used, utilisation, _ = ask(*FIELDS)
        found.append((int(used), int(utilisation)))


def job(folder: Path, command: list[str]) -> tuple[dict[str, object], list[tuple[int, int]]]:
    """The report of a job that runs `command`, and what `nvidia-smi` said meanwhile."""
    mock = Mock(folder / "store")
    ended, found = threading.Event(), list[tuple[int, int]]()
    try:
        with fake_engine(folder / "engine") as engine:
            paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
            settings = {"DOCKER_HOST": engine.url, "MIN_FREE_GIB": "0", "TIMEOUT_JOB": "1", "PYTHONPATH": paths}
            worker = Worker(mock, folder, **settings, **DRIVER)
            try:
                with_driver = ["env", *(f"{name}={value}" for name, value in DRIVER.items()), *command]
                job_id = mock.submit(shlex.join(with_driver), "image:latest")
                wait_for(lambda: "running" in mock.times(job_id), "the job to run", every_s=0.1, timeout_s=60)
                threading.Thread(target=watch, args=[ended, found], daemon=True).start()
                mock.ended(job_id)
                ended.set()
            finally:
                worker.end()
                print("```", (folder / "worker.log").read_text(), "```", sep="\n", file=sys.stderr)
        report: dict[str, object] = mock.report(job_id)
        return report, found
    finally:
        ended.set()
        mock.close()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--load", help="another command that keeps the GPU at work and takes 2 GiB of it")
    parser.add_argument("--seconds", type=float, default=20, help="for how long it works in the job")
    arguments = parser.parse_args()
    command = shlex.split(arguments.load or "") or [
        arguments.python, "-c", LOAD.format(seconds=arguments.seconds)
    ]  # fmt: skip
    gpu = hardware.find_gpu()
    if gpu is None:
        print("This machine has no GPU that NVML sees.", file=sys.stderr)
        return 1
    uuid, name, total, driver = ask("uuid", "name", "memory.total", "driver_version")
    print(f"NVML and nvidia-smi, driver {driver}:\n\n| | the worker | nvidia-smi |\n|---|---|---|")
    row("UUID", gpu.uuid, uuid)
    row("model", gpu.model, name)
    row("memory, MiB", gpu.memory_mib, total)
    row("architecture", gpu.archi, "")
    compare(gpu, "idle")
    with working(command):
        compare(gpu, "at work")
        row("one look, ms", f"{cost_of_a_look(gpu):.2f}", "")
    with tempfile.TemporaryDirectory() as folder:
        report, seen = job(Path(folder), command)
    row("report: most memory, MiB", report["gpu_peak_memory_mib"], max(used for used, _ in seen))
    mean = sum(utilisation for _, utilisation in seen) / len(seen)
    row("report: mean utilisation, %", report["gpu_utilisation_percent"], f"{mean:.0f}")
    row("report: seconds at work", report["gpu_busy_s"], f"of {report['running_s']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
