"""A stand-in for NVIDIA's container toolkit that gives containers a card, or fails as the real one does."""

import sys
from pathlib import Path

NAME = "nvidia-container-runtime-hook"
FAILURE = "nvidia-container-cli: device error: unknown device"

HOOK = f"""\
#!{sys.executable}
import json, sys
from pathlib import Path

bundle = Path(json.load(sys.stdin)["bundle"])
config = json.loads((bundle / "config.json").read_text())
asked_for = dict(each.split("=", 1) for each in config["process"]["env"])["NVIDIA_VISIBLE_DEVICES"]
with Path(__file__).with_name("calls").open("a") as calls:
    calls.write(asked_for + "\\n")
given = Path(__file__).with_name("given").read_text() or asked_for
if given == "none":
    sys.exit("{FAILURE}")
tool = bundle / config["root"]["path"] / "usr/bin/nvidia-smi"
tool.parent.mkdir(parents=True, exist_ok=True)
tool.write_text(f"#!/bin/sh\\necho 'GPU 0: NVIDIA RTX A4000 (UUID: {{given}})'\\n")
tool.chmod(0o755)
"""
"""runc calls it when a container's root is mounted and nothing in it runs yet (OCI runtime specification, prestart)."""


class GpuHook:
    """The hook, in `folder`: an engine takes it up that finds it there when it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hook = folder / NAME
        hook.write_text(HOOK)
        hook.chmod(0o755)
        self.give()

    @property
    def calls(self) -> int:
        """How many containers with a card were to be started so far."""
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def give(self, card: str = "") -> None:
        """From now on containers get the card that they ask for, or this one."""
        (self.folder / "given").write_text(card)

    def fail(self) -> None:
        """From now on no container gets a card, or starts that asks for one."""
        self.give("none")
