"""What a check finds: its line, or the sentence of its failure."""

from dataclasses import dataclass

from job_fetcher.core.errors import JobFetcherError, SettingsError


@dataclass(frozen=True)
class Finding:
    """One line of the check: its name, whether all is well, what it found or how to mend it, how long it took."""

    name: str
    ok: bool
    text: str
    seconds: float


class Failed(JobFetcherError):
    """A check has failed; the message is the sentence that mends it."""


def sentences(error: Exception) -> list[str]:
    """The lines of an error: a `SettingsError` has a title, and a line for each wrong setting."""
    title, *lines = str(error).split("\n")
    return (
        [line.strip() for line in lines] if isinstance(error, SettingsError) and lines else [" ".join([title, *lines])]
    )
