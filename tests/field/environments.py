"""The environments of the field lab, by the names that `scripts/field.sh` takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.field import engines
from tests.field.place import Place


@dataclass(frozen=True)
class Environment:
    """`open` gives the place, or raises `NotHad`."""

    name: str
    title: str
    open: Callable[[], AbstractContextManager[Place]]


ENVIRONMENTS = (
    Environment("own", "the machine's own engine", engines.own),
    Environment("docker", "a second engine", engines.second),
)
