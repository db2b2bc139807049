"""The errors: a tree of decisions, and exit codes that tell them apart."""

import inspect
import re

from job_fetcher.core import errors
from job_fetcher.core.errors import JobFetcherError, WorkerError

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
