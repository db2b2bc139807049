"""The errors: a tree of decisions, and exit codes that tell them apart."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from job_fetcher import errors
from job_fetcher.errors import JobFetcherError, WorkerError

SOURCES = sorted(Path(errors.__file__).parent.glob("*.py"))
CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]


def test_the_tree_in_the_docstring_is_the_one_of_the_classes() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for indent, name in re.findall(r"^    ([│ ├└─]*)(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        del above[depth:]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in CLASSES}


def test_each_worker_error_has_an_exit_code_of_its_own() -> None:
    codes = [each.exit_code for each in CLASSES if issubclass(each, WorkerError)]
    assert sorted(codes) == [1, 2, 3, 4, 5]


def test_every_error_is_ours() -> None:
    assert all(issubclass(each, JobFetcherError) for each in CLASSES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_docker_is_imported_only_where_its_errors_are_translated(source: Path) -> None:
    """P3. Steps must run where docker is not even installed."""
    tree = ast.parse(source.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in imported}
    if source.stem not in ("confinement", "engine"):
        assert "docker" not in roots
    if source.stem not in ("http", "transfer", "download", "api", "container", "engine", "images"):
        assert "requests" not in roots
