"""A stand-in for NVIDIA's container toolkit: an engine that finds it on its PATH gives containers an `nvidia-smi`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "nvidia-container-runtime-hook"

HOOK = """\
#!{python} -I
# Called before a container's command, with its state on standard input (OCI runtime specification, "Hooks").
import json, os, pathlib, sys
config = json.loads((pathlib.Path(json.load(sys.stdin)["bundle"]) / "config.json").read_text())
asked = dict(each.split("=", 1) for each in config["process"]["env"])["NVIDIA_VISIBLE_DEVICES"]
cards = pathlib.Path({cards!r}).read_text().split()
seen = cards if asked == "all" else [each for each in cards if each in asked.split(",")]
lines = [f"echo 'GPU {{n}}: Stub (UUID: {{each}})'" for n, each in enumerate(seen)]
tool = pathlib.Path(config["root"]["path"], "usr/bin/nvidia-smi")
tool.parent.mkdir(parents=True, exist_ok=True)
tool.write_text("\\n".join(["#!/bin/sh", *lines, ""]))
tool.chmod(0o755)
"""


class GpuHook:
    """The hook in `folder`, which goes to the front of an engine's PATH, and the cards that containers see."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._cards = folder, folder / "cards"
        hook = folder / NAME
        hook.write_text(HOOK.format(python=sys.executable, cards=str(self._cards)))
        hook.chmod(0o755)
        self.show()

    def show(self, *uuids: str) -> None:
        """From now on containers that ask for one of these cards see it, and no other."""
        self._cards.write_text(" ".join(uuids))


@contextmanager
def no_gpu_hook(folder: Path) -> Iterator[None]:
    """A PATH with all that this one has, but for NVIDIA's hook: for an engine that is started meanwhile."""
    for place in filter(None, os.environ["PATH"].split(":")):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            if tool.name != NAME and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", str(folder))
        yield
