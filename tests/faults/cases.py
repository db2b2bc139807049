"""The cases of the fault matrix that are jobs of the campaign: what passes, what hangs, what is refused for good."""

from typing import Any

from tests.faults.campaign import STAGES, Case

MIB = 2**20
TRIES = 2
"""So many times each request goes wrong before it works."""

ANSWERED_WITH_JSON = ("input URL", "upload URL")
STORAGE = ("download", "upload")
OF_THE_API = tuple(stage for stage in STAGES if stage not in STORAGE)
NO_DOWNLOAD = tuple(stage for stage in STAGES if stage != "download")
"""Where a page is told from what should be there; of a download, any content is what its user may have stored."""

PASSING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "500": ({"status": 500}, tuple(STAGES)),
    "503": ({"status": 503, "body": "<html>maintenance</html>"}, tuple(STAGES)),
    "429": ({"status": 429}, tuple(STAGES)),
    "429 with Retry-After": ({"status": 429, "headers": {"Retry-After": "1"}}, tuple(STAGES)),
    "cut before the request is done": ({"cut": "before"}, tuple(STAGES)),
    "cut after the request is done": ({"cut": "after"}, tuple(STAGES)),
    "cut in the middle of the answer": ({"cut_body_after": 5}, ANSWERED_WITH_JSON),
    "short answer": ({"short_body": 5}, ANSWERED_WITH_JSON),
    "a proxy's page": ({"status": 200, "body": "<html>log in</html>"}, NO_DOWNLOAD),
    "a load balancer's 404": ({"status": 404, "body": "<html>not found</html>"}, OF_THE_API),
    "a firewall's 403": ({"status": 403, "body": "<html>blocked</html>"}, OF_THE_API),
    "a proxy's 401": ({"status": 401, "body": "<html>log in</html>"}, OF_THE_API),
    "a proxy's redirect": ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/log-in"}}, NO_DOWNLOAD),
    "expired URL": ({"status": 403, "body": "Request has expired"}, STORAGE),
}
"""Faults by name, each with the stages in which it is met."""

HANGING = {
    "a hanging download": ("download",),
    "a hanging upload": ("upload",),
    "hanging answers on the way in": ("first status", "input URL", "postprocessing"),
    "hanging answers on the way out": ("running", "upload URL", "last status"),
}
"""Stages in which one request is never answered; together in one job where their time-outs are short."""

CUT_AFTER = 1_300_000
CUT_DOWNLOAD = "a download cut in the middle, again and again"

REFUSED = {
    "input URL": {
        400: "The input 'data/a' cannot be fetched: GET .* answered 400",
        403: "The input 'data/a' cannot be fetched: the job's user may not read this file",
        404: "The input 'data/a' cannot be fetched: there is no such file",
        413: "The input 'data/a' cannot be fetched: GET .* answered 413",
        422: "The input 'data/a' cannot be fetched: GET .* answered 422",
    },
    "download": {
        400: r"The input 'data/a' cannot be fetched: the storage refuses it \(400\)",
        403: r"The input 'data/a' cannot be fetched: the storage refuses it \(403\)",
        404: "The input 'data/a' cannot be fetched: the storage has no such file",
        413: "The input 'data/a' cannot be fetched: the storage answered 413",
        422: "The input 'data/a' cannot be fetched: the storage answered 422",
    },
    "upload URL": {
        400: "The output 'output/a' cannot be uploaded: POST .* answered 400",
        403: r"The output 'output/a' cannot be uploaded: the API refuses to take it \(403\)",
        404: r"The output 'output/a' cannot be uploaded: the API refuses to take it \(404\)",
        413: "The output 'output/a' cannot be uploaded: POST .* answered 413",
        422: "The output 'output/a' cannot be uploaded: POST .* answered 422",
    },
    "upload": {
        400: "The output 'output/a' cannot be uploaded: the storage answered 400",
        403: r"The output 'output/a' cannot be uploaded: the storage refuses it \(403\)",
        404: "The output 'output/a' cannot be uploaded: the storage answered 404",
        413: "The output 'output/a' cannot be uploaded: the storage answered 413",
        422: "The output 'output/a' cannot be uploaded: the storage answered 422",
    },
}
"""What waiting does not change: the sentence that the job's user reads, by stage and status."""

UNHEARD = [(stage, status) for stage in ("first status", "running", "postprocessing") for status in (400, 413, 422)]
"""Statuses on the way that the API refuses: no reason to give up a job."""


def _refusal(stage: str, status: int) -> dict[str, Any]:
    """A refusal of the storage, or of the API itself, which is JSON."""
    return {"status": status} | ({} if stage in STORAGE else {"detail": "no"})


def all_cases() -> dict[str, Case]:
    """The slowest first."""
    cases = {name: Case({stage: {"hang": True, "times": 1} for stage in stages}) for name, stages in HANGING.items()}
    for name, (fault, stages) in PASSING.items():
        cases[name] = Case({stage: {**fault, "times": TRIES} for stage in stages})
    cases[CUT_DOWNLOAD] = Case({"download": {"cut_body_after": CUT_AFTER, "times": TRIES}}, size=3 * MIB)
    for stage, sentences in REFUSED.items():
        cases |= {f"{stage} refused with {status}": Case({stage: _refusal(stage, status)}) for status in sentences}
    for stage, status in UNHEARD:
        cases[f"{stage} refused with {status}"] = Case({stage: _refusal(stage, status)})
    for status in (400, 413, 422):
        cases[f"last status refused with {status}"] = Case({"last status": _refusal("last status", status)})
    return cases
