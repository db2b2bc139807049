"""Answers that are no answers, of every endpoint, to one running worker: it asks again, and jobs end as they should."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hostile.conftest import PATIENCE_S, StartVictim, Victim
from tests.support.platform import Platform
from tests.support.worker import wait_until

SEED = 4
ODD: list[Any] = [None, True, -1, 10**40, 1e308, "", "\0", "x" * 10_000, [], {}, [[[]]], {"": None}]
NO_JSON = ["", "<html><body>Bad Gateway</body></html>", "\0", "NaN", "[" * 10_000, '{"a":' * 10_000, "x" * 10 * 2**20]


def spoiled(right: Any, chance: random.Random, count: int = 12) -> Iterator[str]:
    """Answers that nobody can understand: no JSON at all, and `right` with values of other types, or cut."""
    yield from NO_JSON
    text = json.dumps(right)
    for _ in range(count):
        yield text[: chance.randrange(1, len(text))]
    for odd in ODD:
        if not isinstance(odd, dict):
            yield json.dumps(odd)
        for name in right if isinstance(right, dict) else ():
            if not isinstance(odd, str | dict):
                yield json.dumps(right | {name: odd})


def answers(right: Any) -> list[str]:
    return list(spoiled(right, random.Random(SEED)))


def status_of(platform: Platform) -> Callable[[], bool]:
    return lambda: not platform.state.faults.all() or all(each.matched for each in platform.state.faults.all())


def arm(victim: Victim, path: str, bodies: list[str], method: str = "*", query: str = "*", status: int = 200) -> None:
    """Let each of `bodies` be the answer once, one after the other."""
    for body in bodies:
        victim.platform.fault(path, method, query=query, status=status, body=body, times=1)


def wait_for_all(victim: Victim) -> None:
    """Until the worker has had every spoiled answer."""
    wait_until(status_of(victim.platform), "every spoiled answer to be had", PATIENCE_S)


def test_login_is_tried_again_whatever_the_answers_are(start_victim: StartVictim) -> None:
    info = {"cognito": {"user_pool_id": "x", "client_id": "x", "region": "x"}}
    result = {"AuthenticationResult": {"IdToken": "x", "AccessToken": "x", "ExpiresIn": 3600}}
    more_info = [{"cognito": {"client_id": "x", "region": region}} for region in ("a" * 70, "a.b", "A", "", "a\n", 7)]
    more_results = [{"AuthenticationResult": {"IdToken": bad, "ExpiresIn": 1}} for bad in ("a\nb", "a b", "", "ü", 7)]
    victim = start_victim(API_URL="http://127.0.0.1:1")  # until the faults are there, nobody answers
    victim.worker.stop()
    victim.worker.environment["API_URL"] = victim.platform.url
    arm(victim, "/access_info", [*answers(info), *map(json.dumps, more_info)])
    arm(victim, "/cognito*", [*answers(result), *map(json.dumps, more_results)])
    arm(victim, "/cognito*", ["", "{}", "[]", '{"__type": 7}', "<html>"], status=400)
    victim.worker.start()
    wait_for_all(victim)
    victim.survive()


def test_queue_is_asked_again_whatever_the_answers_are(victim: Victim) -> None:
    spoiled_answers = [*(each for each in answers([]) if each != "{}"), '{"": {}}', '{"a": 1, "a']
    arm(victim, "/jobs", spoiled_answers, query="*limit=1*")
    wait_for_all(victim)
    victim.survive()


def test_statuses_get_through_whatever_the_answers_are(victim: Victim) -> None:
    """To a status that was taken the answer does not matter; after a 500 the job's existence is asked for."""
    job = victim.platform.submit("until [ -e /files/go ]; do sleep 0.05; done", image=victim.images.job)
    victim.platform.wait_for_status(job, "running")
    for body in answers("running")[:20]:
        victim.platform.fault("/jobs/*/status", "PUT", body=body, times=1)
    arm(victim, "/jobs/*/status", NO_JSON[:3], "PUT", status=500)
    arm(victim, "/jobs/*/status", [*NO_JSON[:3], '"unknown"', "7"], "GET")
    (victim.worker.base / job / "files" / "go").touch()
    victim.survive()
    assert victim.fate(job).status == "finished"
    victim.platform.heal()


@pytest.mark.parametrize("storage", ["own", "s3"])
def test_files_get_through_whatever_the_answers_are(victim: Victim, storage: str) -> None:
    """One input and one output folder for each spoiled answer; all of them in one job."""
    victim.platform.configure(storage=storage)
    right = {"method": "get", "url": "http://127.0.0.1:1/", "headers": {}, "data": {}}
    bodies = [each for each in answers(right) if not _is_well_formed(each)][::3]
    files = {}
    for number, body in enumerate(bodies):
        files[f"in/{number}"] = str(number).encode()
        arm(victim, f"/files/*/in/{number}/url", [body])
        arm(victim, "/jobs/*/files/url", [body], "POST", query=f"*base_path=out/{number}", status=201)
    line = "cd /files; for each in in/*; do mkdir out/${each#in/}; cp $each out/${each#in/}/x; done"
    fate = victim.attack(line, files=files, up={"output": "out"})
    assert fate.told.startswith(f"The command ended with exit code 0. The worker uploaded {len(bodies)} output files (")
    assert fate.outputs == {f"output/out/{n}/x": str(n).encode() for n in range(len(bodies))}
    victim.platform.heal()


def _is_well_formed(body: str) -> bool:
    """Whether it is a request after all: one that is refused at once, which is tested in `test_answers`."""
    try:
        request = json.loads(body)
        return {type(request[name]) for name in ("method", "url")} == {str}
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def test_status_that_is_never_understood_leaves_the_worker_working(victim: Victim) -> None:
    """The end of a job that cannot be told is told as soon as that is possible."""
    job = victim.platform.submit("true", image=victim.images.job)
    victim.platform.fault("/jobs/*/status", "PUT", query="*status=finished*", status=500, body="<html>", times=3)
    victim.survive()
    assert victim.fate(job).status == "finished"
