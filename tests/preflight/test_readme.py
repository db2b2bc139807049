"""What the README says under "When something is wrong" is what the worker says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_fetcher.platform.auth import CHALLENGES, REFUSALS
from job_fetcher.platform.diagnosis import HINTS

ENDING = {"SettingsError", "CredentialsError", "EngineError", "GpuError", "NoImage", "Failed"}
"""What is raised with a sentence for the person who lends the machine."""
ROOT = Path(__file__).parents[2]


def between(mark: str) -> str:
    """The README's part between two comments of that name."""
    return (ROOT / "README.md").read_text(encoding="utf-8").split(f"<!-- {mark} -->")[1]


def sentences_of_readme() -> list[str]:
    rows = [line.split("|")[1] for line in between("sentences").strip().splitlines()[2:]]
    return [sentence for row in rows for sentence in re.findall(r"`([^`]+)`", row)]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    """All strings of the worker, with `…` for what is put into them."""
    return [text for tree in trees() for text in _strings(tree)]


def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "src").rglob("*.py"))]


def told() -> list[str]:
    """The sentences that end a start or are a cross of the check: those that are not only put around others."""
    raised = [each.exc for tree in trees() for each in ast.walk(tree) if isinstance(each, ast.Raise)]
    calls = [each for each in raised if isinstance(each, ast.Call) and getattr(each.func, "id", "") in ENDING]
    written = [text for call in calls for text in list(_strings(call))[:1]]
    sentences = [text for text in written if len(text.split()) > 7 and " - …" not in text]
    return [*sentences, *REFUSALS.values(), *CHALLENGES.values(), *(meaning for _, meaning in HINTS)]


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{[^}]*\}|%s", "…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


@pytest.mark.parametrize("sentence", sentences_of_readme())
def test_sentence_of_the_readme_is_one_of_the_worker(strings: list[str], sentence: str) -> None:
    assert any(sentence in text for text in strings)


@pytest.mark.parametrize("sentence", told())
def test_sentence_of_the_worker_is_in_the_readme(sentence: str) -> None:
    assert any(row in re.sub(r"\{[^}]*\}", "…", sentence) for row in sentences_of_readme())


def test_readme_starts_a_check_as_it_starts_the_worker() -> None:
    """The same arguments, but for what lets it run in the background."""
    start, check = (
        re.findall(r"docker run(?:[^\n]*\\\n)*[^\n]*", part)[0].replace("\\\n", " ").split()
        for part in ((ROOT / "README.md").read_text(encoding="utf-8"), between("check"))
    )
    background = ["--detach", "--name", "job-fetcher", "--restart", "unless-stopped"]
    assert start[:2] + start[2 + len(background) :] == check[:2] + check[3:-1]
    assert (start[2 : 2 + len(background)], check[2], check[-1]) == (background, "--rm", "check")
