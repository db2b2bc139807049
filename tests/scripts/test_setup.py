"""Pieces of `scripts/setup.sh` and `scripts/base_image.sh`; all of them together are what CI starts with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.docker import ROOT


def bash(line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/bash", "-c", line]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("script", ["setup.sh", "base_image.sh", "demo.sh", "test.sh"])
def test_scripts_are_well_formed_and_stop_at_the_first_error(script: str) -> None:
    path = ROOT / "scripts" / script
    assert bash(f"bash -n {path}").returncode == 0
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")


def test_python_that_does_not_run_or_is_too_old_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3.11", "exit 127")
    program(tmp_path, "python3.12", "exit 1")
    program(tmp_path, "python3.13", f'exec {sys.executable} "$@"')
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert bash("source scripts/setup.sh && find_python", PATH=path).stdout == "python3.13\n"


def test_what_cannot_be_installed_is_named(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    path = f"{tmp_path}:{os.environ['PATH']}"
    line = "source scripts/setup.sh && install_missing bash:bash no-such-command:a-package other-command:another"
    result = bash(line, PATH=path)
    assert result.returncode == 1
    assert result.stderr.startswith("setup: Please install a-package another (")


def test_usage_is_told() -> None:
    result = bash("scripts/setup.sh everything")
    assert result.returncode == 1
    assert "usage: scripts/setup.sh [demo|tests|quick]" in result.stderr


@pytest.mark.usefixtures("needs_engine")
def test_base_image_that_is_there_is_left_alone() -> None:
    result = bash("scripts/base_image.sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
