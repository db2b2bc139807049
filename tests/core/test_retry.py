"""Retries: what may pass is tried again with growing waits, and nobody waits longer than it helps."""

import math
import random
from collections.abc import Callable

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import (
    CredentialsError,
    EngineUnavailable,
    InvalidAnswer,
    JobGone,
    NotThePlatform,
    Unavailable,
)
from job_fetcher.core.retry import (
    ENGINE_ERRORS,
    INVALID_ANSWERS,
    MAX_WAIT_S,
    MIN_REFUSALS,
    CredentialRefusals,
    keep_alive_wait_s,
    retrying,
    retrying_engine,
)


def test_what_is_unavailable_is_tried_until_it_works_with_growing_waits(waits: list[float]) -> None:
    failures = [Unavailable(f"number {number}", status=500) for number in range(30)]
    heard: list[Unavailable] = []
    left = iter(failures)

    def call() -> str:
        for failure in left:
            raise failure
        return "done"

    assert retrying(Cancellation(), when_failed=heard.append)(call) == "done"
    assert heard == failures
    assert len(set(waits)) == len(waits) == 30, "each wait is drawn"
    assert all(wait <= min(2.0 ** (number + 1), MAX_WAIT_S) for number, wait in enumerate(waits))
    assert max(waits) > 2, "they grow"


def test_retry_after_is_waited_out_before_the_next_try(waits: list[float]) -> None:
    answers = iter([Unavailable("later", retry_after_s=100)])

    def call() -> None:
        for failure in answers:
            raise failure

    retrying(Cancellation())(call)
    assert 100 <= waits[0] <= 102


@pytest.mark.parametrize("asked_s", [601, 3600, 86_400])
def test_a_job_in_hand_waits_ten_minutes_at_most_whatever_is_asked_for(waits: list[float], asked_s: float) -> None:
    answers = iter([Unavailable("later", retry_after_s=asked_s)])

    def call() -> None:
        for failure in answers:
            raise failure

    retrying(Cancellation())(call)
    assert 600 <= waits[0] <= 602


def test_an_answer_that_stays_invalid_is_not_waited_out_for_ever(waits: list[float]) -> None:
    def call() -> None:
        raise InvalidAnswer("a proxy's page")

    with pytest.raises(InvalidAnswer):
        retrying(Cancellation())(call)
    assert len(waits) == INVALID_ANSWERS - 1


def alone() -> NotThePlatform:
    error = NotThePlatform("a firewall's page")
    error.alone = True
    return error


OTHERS = {
    "an outage": lambda: Unavailable("away", status=503),
    "a page of something in front": lambda: NotThePlatform("a load balancer's page"),
    "refused credentials": lambda: CredentialsError("refused"),
}
BELIEVED = {"an invalid answer": lambda: InvalidAnswer("odd"), "a page for one request": alone}
every_other = pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
every_believed = pytest.mark.parametrize("believed", BELIEVED.values(), ids=BELIEVED)
Make = Callable[[], Exception]


def raising(*errors: Exception) -> Callable[[], str]:
    """A call that fails with each of `errors`, and then works."""
    left = iter(errors)

    def call() -> str:
        for error in left:
            raise error
        return "done"

    return call


@every_believed
@pytest.mark.parametrize("other", [OTHERS["an outage"], OTHERS["a page of something in front"]], ids=[*OTHERS][:2])
def test_one_odd_answer_after_an_outage_is_not_believed(waits: list[float], other: Make, believed: Make) -> None:
    """Every failure counted, so that an outage of hours made the first odd answer after it the last one."""
    outage = [other() for _ in range(500)]
    call = raising(*outage, *[believed() for _ in range(INVALID_ANSWERS - 1)])
    assert retrying(Cancellation(), invalid_for_s=3600)(call) == "done"
    assert sum(waits) > 3600


@every_other
@every_believed
def test_odd_answers_count_only_in_a_row(waits: list[float], other: Make, believed: Make) -> None:
    call = raising(*[make() for _ in range(500) for make in (believed, other)])
    assert retrying(Cancellation())(call) == "done"
    assert sum(waits) > 3600


@pytest.mark.parametrize("other", [OTHERS["an outage"], OTHERS["a page of something in front"], *BELIEVED.values()])
def test_refusals_count_only_in_a_row(waits: list[float], other: Make) -> None:
    """An outage between two of them says nothing about the account."""
    refusals = [CredentialsError("refused") for _ in range(MIN_REFUSALS)]
    call = raising(*refusals[:-1], *[other() for _ in range(9)], *refusals)
    assert retrying(Cancellation(), invalid_for_s=3600)(call) == "done"
    assert sum(waits) > 1


def test_invalid_answers_are_waited_out_from_the_first_of_them(waits: list[float]) -> None:
    call = raising(*[Unavailable("away") for _ in range(500)], *[InvalidAnswer("odd") for _ in range(1000)])
    with pytest.raises(InvalidAnswer):
        retrying(Cancellation(), invalid_for_s=3600)(call)
    assert 3600 <= sum(waits[500:]) < 3600 + MAX_WAIT_S


@pytest.mark.parametrize("alone", [False, True])
def test_a_page_in_the_apis_place_is_waited_out_unless_it_is_for_one_request_alone(
    waits: list[float], alone: bool
) -> None:
    day_s = 86_400

    def call() -> str:
        if sum(waits) > day_s:
            return "back"
        error = NotThePlatform("a firewall's page")
        error.alone = alone
        raise error

    if alone:
        with pytest.raises(NotThePlatform):
            retrying(Cancellation())(call)
        assert 3600 <= sum(waits) < 3600 + MAX_WAIT_S
    else:
        assert retrying(Cancellation())(call) == "back"


@pytest.mark.parametrize("outage_s", [0, 100, 1000])
def test_refused_credentials_are_believed_after_three_minutes_of_refusals(waits: list[float], outage_s: float) -> None:
    """An outage before them does not count."""
    first = []

    def call() -> None:
        if sum(waits) < outage_s:
            raise Unavailable("away")
        first.append(sum(waits))
        raise CredentialsError("refused")

    with pytest.raises(CredentialsError):
        retrying(Cancellation())(call)
    assert len(first) >= 3
    assert 180 <= sum(waits) - first[0] < 180 + MAX_WAIT_S


@pytest.mark.parametrize("gap_s", [1, 60, 1000])
def test_refused_credentials_are_believed_by_at_least_three_refusals(gap_s: float) -> None:
    refusals = CredentialRefusals()
    count = next(n for n in range(1, 1000) if refusals.are_final(n * gap_s))
    assert count == max(3, 1 + math.ceil(180 / gap_s))
    refusals.reset()
    assert not refusals.are_final(10_000)


def test_a_wait_ends_when_the_job_is_gone() -> None:
    """P12: waits are for events, never sleeps."""
    cancelled = Cancellation()

    def call() -> None:
        raise Unavailable("for a long time", retry_after_s=600)

    with pytest.raises(JobGone):
        retrying(cancelled, when_failed=lambda _: cancelled.set(JobGone("deleted")))(call)


def test_only_what_may_pass_is_tried_again(waits: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        retrying(Cancellation())(lambda: 1 // 0)
    assert waits == []


def test_waits_after_failures_never_cost_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API gives a job up after 300 s of silence; TIMEOUT_STATUS is 120 s at most."""
    for draw in (min, max):
        monkeypatch.setattr(random, "uniform", draw)
        for failures in range(1, 2000):
            assert 1 <= keep_alive_wait_s(failures, 120) <= 60


@pytest.mark.parametrize(
    "before",
    [[], [None], [None] * 20, [500] * 4 + [None], [500, None] * 10, [None, 500, 500, None]],
    ids=["nothing", "one refused", "a long restart", "four answers, then a restart", "in turns", "mixed"],
)
def test_the_engine_is_believed_after_five_answers_of_500_in_a_row(
    waits: list[float], before: list[int | None]
) -> None:
    """A refused connection is no answer: the engine is being restarted."""
    statuses = iter(before + [500] * 100)

    def call() -> None:
        raise EngineUnavailable("trouble", status=next(statuses))

    with pytest.raises(EngineUnavailable):
        retrying_engine(Cancellation())(call)
    assert len(waits) == len(before) + ENGINE_ERRORS - 1
