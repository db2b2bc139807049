"""The table of the field lab, in Markdown: `docs/compatibility.md` is what this module prints."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import docker

from tests.field.campaign import STEPS, Cell, Verdict
from tests.field.place import Place

NOT_HAD = "not had here"
_FACTS = ("engine", "version", "image store", "cgroup", "rootless", "file system")


@dataclass
class Row:
    """An environment: what it is, what its engine says of itself, and the result of each step."""

    name: str
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    not_had: str = ""
    """Why this machine cannot have it."""

    @property
    def fails(self) -> bool:
        return any(cell.verdict is Verdict.FAILS for cell in self.cells.values())


def facts(place: Place) -> dict[str, str]:
    """What the engine says of itself, and what the jobs' folder lies on."""
    info, version = place.client.info(), place.client.version()
    engine = next((each["Name"] for each in version.get("Components", [])), "Docker")
    status = dict(info.get("DriverStatus") or [])
    store = "containerd, " if "containerd" in str(status.get("driver-type", "")) else ""
    return {
        "engine": "Podman" if "Podman" in engine else "Docker",
        "version": str(version["Version"]).split("+")[0],
        "image store": store + str(info["Driver"]),
        "cgroup": f"v{info.get('CgroupVersion', '?')}",
        "rootless": "yes" if any("rootless" in each for each in info.get("SecurityOptions") or []) else "no",
        "file system": file_system(place.folder),
    }


def file_system(folder: Path) -> str:
    """The type of the file system that `folder` lies on (proc_pid_mounts(5))."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(point, kind) for _, point, kind, *_ in mounts if folder.is_relative_to(point)]
    return max(above, key=lambda each: len(each[0]))[1]


def machine(client: docker.DockerClient) -> str:
    info = client.info()
    memory = info["MemTotal"] / 2**30
    return f"{info['NCPU']} CPUs, {memory:.0f} GiB of memory, {info['OperatingSystem']}, Linux {platform.release()}"


def markdown(rows: Sequence[Row], machine: str, command: str) -> str:
    """The page."""
    had = [row for row in rows if not row.not_had]
    header = ["environment", *_FACTS, *STEPS]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for row in had:
        verdicts = [row.cells[step].verdict.value for step in STEPS]
        lines.append(
            f"| `{row.name}`: {row.title} | {' | '.join([*(row.facts[each] for each in _FACTS), *verdicts])} |"
        )
    return _PAGE.format(
        table="\n".join(lines),
        told="\n".join(_told(had)) or "| none | | |",
        not_had="\n".join(f"| `{row.name}` | {row.title} | {row.not_had} |" for row in rows if row.not_had)
        or "| none | | |",
        date=date.today().isoformat(),
        machine=machine,
        command=command,
    )


def _told(rows: Sequence[Row]) -> list[str]:
    """A line for each sentence: the same one of several steps of an environment is given once."""
    lines = []
    for row in rows:
        sentences: dict[tuple[Verdict, str], list[str]] = {}
        for step, cell in row.cells.items():
            if cell.sentence:
                sentences.setdefault((cell.verdict, cell.sentence), []).append(step)
        lines += [
            f"| `{row.name}` | {', '.join(steps)} | {verdict}: {_in_cell(sentence)} |"
            for (verdict, sentence), steps in sentences.items()
        ]
    return lines


def _in_cell(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("<", "&lt;")


_PAGE = """\
# Compatibility

On which engines and file systems the worker runs jobs. This page is the output of one command. Each cell is from a real
run: the worker as a process, the engine, and the platform's mock.

```sh
{command}
```

Run on {date}: {machine}.

| step | what it does |
|---|---|
| check | `check` finds nothing wrong |
| job | a job with inputs, outputs and a log of 20,000 lines is finished, with all of them |
| exit code 3 | a command that ends with 3 is an `error` that says so, with its outputs |
| kill -9 | the worker is killed and started again: it goes on with the job, which runs once |
| cancel | the user deletes the job: its container and folder go, and the next job runs |
| stop | the worker is stopped: it requeues the job, and leaves nothing |
| full disk | a job fills a small disk: what it had made before arrives, and the next job runs |

*told*: the worker names in a sentence what does not hold there, before a job is lost to it. In the sentences, `/data`
stands for the folder of the jobs.

## What was tried

{table}

## What the worker says there

| environment | step | sentence |
|---|---|---|
{told}

## What this machine cannot have

| environment | what it is | why |
|---|---|---|
{not_had}
"""
