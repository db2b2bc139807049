"""Settings in a file, as `docker run --env-file` reads them."""

import os
import re
from collections.abc import Iterator


def variables(text: str) -> Iterator[tuple[str, str]]:
    """The variables that the text sets, name by name; a name alone has the value of this process.

    Raises `ValueError` with the number of a wrong line, not its text, which may hold a secret.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        name, is_set, value = line.lstrip().removesuffix("\r").partition("=")
        if name.startswith("#") or not (name or is_set):
            continue
        if not name or re.search(r"\s", name):
            raise ValueError(f"line {number} is not NAME=value")
        if is_set:
            yield name, value
        elif name in os.environ:
            yield name, os.environ[name]
