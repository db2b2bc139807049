"""The settings as on a machine where nobody has set any yet."""

from pathlib import Path

import pytest

from job_fetcher.config.settings import Settings
from job_fetcher.core.errors import SettingsError

ENOUGH = {"API_URL": "https://api.example.org", "ACCESS_TOKEN": "s3cret-token"}
"""What is needed, and no more."""


class Installation:
    """An environment without any setting, and a place for a `.env` that is not there yet."""

    def __init__(self, environment: pytest.MonkeyPatch, env_file: Path) -> None:
        self._environment, self.env_file = environment, env_file
        self.set(**dict.fromkeys(name.upper() for name in Settings.model_fields))
        self.set(HTTPS_PROXY=None, HTTP_PROXY=None, ALL_PROXY=None, https_proxy=None, http_proxy=None, all_proxy=None)

    def set(self, **values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                self._environment.delenv(name, raising=False)
            else:
                self._environment.setenv(name, value)

    def read(self, **values: str) -> Settings:
        self.set(**values)
        return Settings.read(self.env_file)

    def refusal(self, **values: str) -> list[str]:
        """The lines that tell what is wrong."""
        with pytest.raises(SettingsError) as refused:
            self.read(**values)
        title, *lines = str(refused.value).split("\n")
        assert title == "The worker cannot use its settings:"
        return [line.strip() for line in lines]
