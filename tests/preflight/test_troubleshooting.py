"""`docs/troubleshooting.md` lists the sentences that the worker says, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_fetcher.engine.pull_failures import TO_OWNER, TO_USER
from job_fetcher.platform.auth import CHALLENGES, REFUSALS
from job_fetcher.platform.diagnosis import HINTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOR_OWNERS = {
    "SettingsError",
    "ValueError",
    "CredentialsError",
    "EngineError",
    "GpuError",
    "NoImage",
    "Failed",
    "RegistryTrouble",
    "_HelperFailed",
}
"""What ends a start, or is a `✗` of the check."""
FOR_USERS = {"JobFailed", "MachineFault", "StopRequested", "failed"}
"""What a job ends with. Short ones are the reason inside of another sentence."""
LEFT_OUT = {"LeftOut", "NotFollowed"}
"""What stands in `left-out.txt`."""
ENDS = {"Final", "Outcome"}
LOGGED = {"info", "warning", "error", "exception"}


def between(mark: str, text: str = PAGE) -> str:
    """The parts of the page between two comments of that name."""
    return "\n".join(text.split(f"<!-- {mark} -->")[1::2])


def rows(text: str) -> list[str]:
    return [line for line in between("sentences", text).splitlines() if line.startswith("| `")]


def listed() -> list[str]:
    """The sentences of the page, as far as it shows them."""
    return [sentence for row in rows(PAGE) for sentence in re.findall(r"`([^`]+)`", row.split("|")[1])]


def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "src").rglob("*.py"))]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    """All strings of the worker, with `…` for each value."""
    return [text for tree in trees() for text in _strings(tree)]


def said() -> list[str]:
    """The sentences of the worker, except those that only stand around others."""
    calls = [each for tree in trees() for each in ast.walk(tree) if isinstance(each, ast.Call)]
    found = [text for call in calls if _name(call) in FOR_OWNERS | FOR_USERS | LOGGED for text in _first_string(call)]
    found += [text for call in calls if _name(call) in LEFT_OUT for text in _strings(call)]
    found += [text for each in _yields() for text in list(_strings(each))[:1]]
    found += [text for call in calls if _name(call) in ENDS for each in call.keywords for text in _strings(each)]
    return [
        *(text for text in found if len(text.replace("…", "").split()) > 3 and " - …" not in text),
        *(re.sub(r"\{[^}]*\}", "…", text) for text in (*REFUSALS.values(), *CHALLENGES.values())),
        *(re.sub(r"\{[^}]*\}", "…", text) for text in (*TO_USER.values(), *TO_OWNER.values())),
        *(hint for _, hint in HINTS),
    ]


def _yields() -> list[ast.Yield]:
    """Why no job is asked for: `Readiness` yields the reasons."""
    tree = ast.parse((ROOT / "src" / "job_fetcher" / "worker" / "readiness.py").read_text(encoding="utf-8"))
    return [each for each in ast.walk(tree) if isinstance(each, ast.Yield)]


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _first_string(call: ast.Call) -> list[str]:
    return list(_strings(call.args[0]))[:1] if call.args else []


def _strings(tree: ast.AST) -> Iterator[str]:
    """The strings below a node, an f-string as one."""
    if isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield re.sub(r"\{[^}]*\}|%[sd]", "…", tree.value)
    for node in ast.iter_child_nodes(tree) if not isinstance(tree, ast.JoinedStr) else ():
        yield from _strings(node)


@pytest.mark.parametrize("sentence", listed())
def test_a_sentence_of_the_page_is_one_of_the_worker(strings: list[str], sentence: str) -> None:
    assert any(sentence in text for text in strings)


@pytest.mark.parametrize("sentence", said())
def test_a_sentence_of_the_worker_is_on_the_page(sentence: str) -> None:
    """If this fails, add a row: the words of the sentence that do not change, and the cure."""
    assert any(row in sentence for row in listed())


def test_the_readme_shows_ten_rows_of_the_page_as_they_are() -> None:
    assert set(rows(README)) <= set(rows(PAGE))
    assert len(rows(README)) == 10


def test_a_check_is_started_as_the_worker_is_started() -> None:
    """The same arguments, except for those that let the worker run in the background."""
    start, check = (
        re.findall(r"docker run(?:[^\n]*\\\n)*[^\n]*", part)[0].replace("\\\n", " ").split()
        for part in (README, between("check"))
    )
    background = ["--detach", "--name", "job-fetcher", "--restart", "unless-stopped"]
    assert start[:2] + start[2 + len(background) :] == check[:2] + check[3:-1]
    assert (start[2 : 2 + len(background)], check[2], check[-1]) == (background, "--rm", "check")
