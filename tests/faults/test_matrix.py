"""`docs/faults.md` names the tests that there are, and all of those here."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "faults.md"
NOT_OF_THE_MATRIX = {"test_faults_are_met_in_every_stage"}


def _tests(path: Path) -> set[str]:
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def _page() -> tuple[str, dict[str, str], dict[str, Path]]:
    """The page but for its list of tests, the tests by their names on the page, and the files by these."""
    text, _, rest = PAGE.read_text().partition("## The tests")
    tests = dict(re.findall(r"^\| \[(.+?)\] \| `(\w+)` \|$", rest, re.MULTILINE))
    files = {
        name: (PAGE.parent / path).resolve() for name, path in re.findall(r"^\[(.+?)\]: (\S+)$", rest, re.MULTILINE)
    }
    return text, tests, files


def test_each_cell_of_the_fault_matrix_names_a_test_that_exists() -> None:
    text, tests, files = _page()
    used = set(re.findall(r"\[([^\]]+)\](?!\()", text))
    assert used == tests.keys() == files.keys()
    assert {name for name in tests if tests[name] not in _tests(files[name])} == set()


def test_no_test_of_a_fault_is_missing_in_the_matrix() -> None:
    _, tests, _ = _page()
    here = {test for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__) for test in _tests(path)}
    assert here - set(tests.values()) == NOT_OF_THE_MATRIX


def test_no_cell_of_the_fault_matrix_is_empty() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [row for row in rows if re.search(r"\|\s*\|", row)] == []
