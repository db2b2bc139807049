"""What became of a job's outputs, in sentences for the job's user: what arrived, what was left out, what is empty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from job_fetcher.core.job import OutputType, encoded_length, fitting

MAX_PROBLEMS = 5
_MAX_REASON, _MAX_HINT, _MAX_PROBLEMS, _MAX_SUMMARY = 900, 500, 900, 1_000
"""Percent-encoded lengths of the parts of a text, which together leave some room for the end of the log."""

_ORDER = (OutputType.OUTPUT, OutputType.ARTIFACT, OutputType.LOG)
_UNITS = ("KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Arrived:
    """How many files of one type have arrived, with how many bytes."""

    files: int = 0
    size: int = 0

    def in_words(self, kind: OutputType) -> str:
        return f"{self.files} {kind} {'file' if self.files == 1 else 'files'} ({in_words(self.size)})"


@dataclass(frozen=True)
class Summary:
    """What an upload came to. `named` are the first lines of the list at `list_path`, which has `left_out` lines."""

    arrived: Mapping[OutputType, Arrived] = field(default_factory=dict)
    empty: Sequence[tuple[OutputType, str]] = ()
    left_out: int = 0
    named: Sequence[str] = ()
    list_path: str = ""

    def sentences(self) -> list[str]:
        """At most three sentences: what arrived, which folders are empty, what was left out."""
        counts = [self.arrived[kind].in_words(kind) for kind in _ORDER if kind in self.arrived]
        sentences = [f"The worker uploaded {_joined(counts) or 'no file'}."]
        if self.empty:
            folders = _joined([f"its {kind} folder '{name[:100]}'" for kind, name in self.empty])
            sentences.append(f"The job left no file in {folders}.")
        if self.left_out:
            what = "1 file or folder" if self.left_out == 1 else f"{self.left_out} files or folders"
            names = [line.strip() for line in self.named] + ["…"] * (self.left_out > len(self.named) > 0)
            text = f"The worker left out {what}"
            if self.list_path:
                text += f", listed in the log file '{self.list_path}'"
            sentences.append(f"{text}: {'; '.join(names)}." if names else f"{text}.")
        return sentences

    def report(self, problems: Iterable[str], logs: Iterable[str]) -> "UploadReport":
        """The same in sentences and numbers, with the `problems` of the upload."""
        counts = self.arrived.values()
        arrived = Arrived(sum(each.files for each in counts), sum(each.size for each in counts))
        return UploadReport(problems, self.sentences(), arrived=arrived, left_out=self.left_out, logs=logs)


class UploadReport(list[str]):
    """What `upload_outputs` returns: a sentence for each problem, and in `summary` what arrived and what was left out.

    `arrived` and `left_out` count files, `logs` are the paths of files of type `log` in the job's folder. It is a list,
    for callers that only ask whether there were problems.
    """

    def __init__(
        self,
        problems: Iterable[str] = (),
        summary: Sequence[str] = (),
        *,
        arrived: Arrived | None = None,
        left_out: int = 0,
        logs: Iterable[str] = (),
    ) -> None:
        super().__init__(problems)
        self.summary = list(summary)
        self.arrived, self.left_out, self.logs = arrived or Arrived(), left_out, frozenset(logs)


def conclusion(reason: str, problems: Sequence[str], hint: str = "") -> str:
    """The text of a last status: how the command ended, a hint, the first problems, the upload's summary."""
    summary = problems.summary if isinstance(problems, UploadReport) else []
    parts = [
        (reason, _MAX_REASON),
        (hint, _MAX_HINT),
        (_some(problems), _MAX_PROBLEMS),
        (" ".join(summary), _MAX_SUMMARY),
    ]
    return " ".join(_cut(text, length) for text, length in parts if text)


def in_words(size: int) -> str:
    """A number of bytes as a person reads it: `1 byte`, `3.4 GiB`."""
    if size < 1024:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, unit = size / 1024, 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


def _some(problems: Sequence[str]) -> str:
    """The first problems, and how many more there are. Each is cut, so that one endless name hides no other."""
    shown = [_cut(each, _MAX_PROBLEMS // MAX_PROBLEMS * 2) for each in problems[:MAX_PROBLEMS]]
    while len(shown) > 1 and encoded_length(" ".join(shown)) > _MAX_PROBLEMS - 100:
        shown.pop()
    if more := len(problems) - len(shown):
        shown.append("There is 1 more such problem." if more == 1 else f"There are {more} more such problems.")
    return " ".join(shown)


def _cut(text: str, max_length: int) -> str:
    return text if encoded_length(text) <= max_length else fitting(text, max_length - 10) + "…"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
