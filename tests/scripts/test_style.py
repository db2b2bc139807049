"""No sentence of the documentation or of the worker is too long to be read once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts import style


@pytest.mark.parametrize("page", style.pages(), ids=lambda page: str(page.relative_to(style.ROOT)))
def test_no_sentence_of_a_page_has_more_than_25_words(page: Path) -> None:
    assert style.too_long(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted((style.ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_no_sentence_that_the_worker_says_has_more_than_25_words(path: Path) -> None:
    """Log lines, errors and help texts: all strings but docstrings, where a value counts as one word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    assert [long for text in _strings(tree, docstrings) for long in style.too_long(text)] == []


def _strings(tree: ast.AST, without: set[int]) -> Iterator[str]:
    if id(tree) in without:
        return
    if isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    else:
        for node in ast.iter_child_nodes(tree):
            yield from _strings(node, without)


MAX_LINES, MAX_FUNCTION_LINES = 300, 45
SOURCES = sorted(path for folder in ("src", "scripts", "mock_api") for path in (style.ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(style.ROOT)))
def test_files_and_functions_are_short_enough_to_be_read_at_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len(text.splitlines()) <= MAX_LINES
    assert [each.name for each in functions if _lines(each) > MAX_FUNCTION_LINES] == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


LONG = " ".join(["word"] * 26)


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG}.",
        f"- an item\n- {LONG}\n",
        f"Short. {LONG} again. Short.",
        f"[A link](https://example.org) and {LONG}.",
        f"`Some code`, {LONG}\nover two lines.",
    ],
)
def test_a_long_sentence_is_found(text: str) -> None:
    assert len(style.too_long(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"| {LONG} |\n|---|\n",
        f"# {LONG}\n",
        f"```sh\n{LONG}\n```\n",
        f"   ```sh\n   {LONG}\n   ```\n",
        f"<!-- {LONG} -->\n",
        f"A piece of code counts as one word: `{LONG}`.",
        f"{' '.join(['word'] * 20)}. [Another](page.md) {' '.join(['word'] * 20)}.",
        "\n".join(["- " + " ".join(["word"] * 20)] * 3),
    ],
)
def test_what_is_no_long_sentence_is_left_alone(text: str) -> None:
    assert style.too_long(text) == []
