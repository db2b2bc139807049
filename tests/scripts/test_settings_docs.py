"""What is generated from the settings is current, and compose.yaml fits them."""

import re
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values
from scripts import settings_docs
from scripts.docker import HOST_BASE

from job_fetcher.config.settings import GROUPS, Settings, described
from tests.support.installation import Installation

COMPOSE = (settings_docs.ROOT / "compose.yaml").read_text(encoding="utf-8")


def as_docker_reads(text: str) -> dict[str, str]:
    """`docker run --env-file`: a line that begins with `#` is a comment, everything behind the first `=` the value."""
    lines = [line.lstrip() for line in text.splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_readme_and_env_example_are_generated_from_the_settings() -> None:
    """If this fails: `python -m scripts.settings_docs --write`."""
    assert settings_docs.stale() == []


def test_a_stale_file_is_named_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readme, example = tmp_path / "README.md", tmp_path / ".env.example"
    readme.write_text(f"before\n{settings_docs.MARK}\nold\n{settings_docs.MARK}\nafter\n")
    example.write_text("OLD=1\n")
    monkeypatch.setattr(settings_docs, "README", readme)
    monkeypatch.setattr(settings_docs, "ENV_EXAMPLE", example)
    monkeypatch.setattr(sys, "argv", ["settings_docs", "--check"])
    with pytest.raises(SystemExit, match=r"README\.md, \.env\.example"):
        settings_docs.main()
    monkeypatch.setattr(sys, "argv", ["settings_docs", "--write"])
    settings_docs.main()
    assert settings_docs.stale() == []
    assert re.fullmatch(r"before\n.*\nafter\n", readme.read_text(), re.DOTALL)


def test_every_setting_stands_in_one_group_and_has_a_description() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert sorted(names) == sorted(set(names)) == sorted(Settings.model_fields)
    assert all(field.description for field in described().values())


def test_env_example_means_the_same_to_dotenv_and_to_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """P22: a comment behind a value once made a first install write outside of the mount."""
    text = settings_docs.env_example()
    assert as_docker_reads(text) == dotenv_values(settings_docs.ENV_EXAMPLE)
    here = Installation(monkeypatch, tmp_path / ".env")
    here.env_file.write_text(text)
    assert here.refusal() == ["API_URL is not set", "Neither USERNAME and PASSWORD nor ACCESS_TOKEN are set"]


def test_compose_sets_settings_that_there_are_and_mounts_the_folder_of_their_default() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    base = described()["path_base"].default
    for service in services.values():
        assert {name.lower() for name in service["environment"]} - {"nvidia_visible_devices"} <= set(described())
        assert service["environment"]["PATH_BASE"].startswith(f"{base}/")
        assert f"${{PATH_HOST_BASE:-{HOST_BASE}}}:{base}" in service["volumes"]


def test_compose_takes_from_the_shell_only_settings_and_the_two_names_that_its_page_explains() -> None:
    names = set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert {name.lower() for name in names - {"IMAGE", "DOCKER_SOCKET"}} <= set(described())
