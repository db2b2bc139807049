"""Where the values of settings come from: the file `.env`, and the environment, which a desktop session fills, too."""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from job_fetcher.core.errors import SettingsError

_CUT = re.compile(r"""=[^\S\n]*([^\s'"][^\n]*?\s#[^\n]*)""")
"""An unquoted value, up to the end of its line, with a ` #` in it."""


class DesktopUsername(PydanticBaseSettingsSource):
    """`USERNAME` from `.env`, if the environment has only the one that every desktop session exports.

    That one equals the login name, or under `sudo -E` the login name before `sudo`. Without this source it would
    replace the account's name, which somebody wrote into `.env`.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        environment: PydanticBaseSettingsSource,
        env_file: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        self._environment, self._env_file = environment, env_file

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic-settings asks `__call__` for all fields at once

    def __call__(self) -> dict[str, Any]:
        in_env_file = self._env_file().get("username")
        logins = (_login_name(), os.environ.get("SUDO_USER"))
        return {"username": in_env_file} if in_env_file and self._environment().get("username") in logins else {}


def _login_name() -> str | None:
    """The login name by the user database: `getpass.getuser` would believe `USERNAME` itself."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def written(env_file: Path) -> tuple[dict[str, str | None], dict[str, str]]:
    """The names and values in `.env`, with each `$` as it is; and the values that are cut at a ` #`, in full.

    python-dotenv takes ` #` for the begin of a comment, `docker run --env-file` for a part of the value. Raises
    `SettingsError` if the file cannot be read.
    """
    try:
        with env_file.open(encoding="utf-8") as stream:
            lines = list(parse_stream(stream))
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"The worker cannot read {env_file} as UTF-8 text: {error}") from None
    for each in lines:
        if each.error:
            raise SettingsError(
                f"The worker cannot read {env_file} from line {each.original.line} on: write NAME=value, and close each"
                " quote on its line"
            )
    texts = {each.key: _CUT.search(each.original.string) for each in lines if each.key}
    return {each.key: each.value for each in lines if each.key}, {name: cut[1] for name, cut in texts.items() if cut}


def lower_case(values: Mapping[str, str | None]) -> dict[str, str]:
    """Values by the names of their fields. Those without a value count as unset."""
    return {name.lower(): value for name, value in values.items() if value}
