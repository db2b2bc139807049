"""What a job's user sees: the platform's other half, which the queue tells of each status after it has kept it."""

from collections.abc import Iterable
from dataclasses import dataclass

from .jobs import Status, Update


@dataclass(frozen=True)
class Mail:
    """One mail to the user, with all details up to then."""

    status: Status
    details: str


@dataclass(frozen=True)
class UserPage:
    """The job on the website: its status, and the details of all updates in one block."""

    status: Status | None
    details: str
    mails: list[Mail]


def user_page(history: Iterable[Update]) -> UserPage:
    """Return what the user sees after these updates: only those count that the users' side was told of."""
    status, details, mails = None, "", []
    for update in history:
        if not update.reported:
            continue
        status, details = update.status, details + (update.runtime_details or "")
        if status in (Status.FINISHED, Status.ERROR):
            mails.append(Mail(status, details))
    return UserPage(status, details, mails)
