"""What a check finds: its line, or the sentence of its failure."""

from dataclasses import dataclass, field

from job_fetcher.core.errors import JobFetcherError, SettingsError


@dataclass(frozen=True)
class Finding:
    """One line of the check: its name, whether all is well, what it found or how to mend it, how long it took.

    `limit`: it is something that does not hold here, though jobs run.
    """

    name: str
    ok: bool
    text: str
    seconds: float
    limit: bool = False


@dataclass(frozen=True)
class Holds:
    """What is well, and a sentence for each thing that does not hold here, though jobs run."""

    text: str
    limits: list[str] = field(default_factory=list)


class Failed(JobFetcherError):
    """A check has failed; the message is the sentence that mends it."""


def sentences(error: Exception) -> list[str]:
    """The lines of an error: a `SettingsError` has a title, and a line for each wrong setting."""
    title, *lines = str(error).split("\n")
    return (
        [line.strip() for line in lines] if isinstance(error, SettingsError) and lines else [" ".join([title, *lines])]
    )
