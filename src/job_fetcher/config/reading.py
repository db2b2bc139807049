"""From the environment and `.env` to settings, or to an error that names everything that is wrong."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import getproxies_environment

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from job_fetcher.config import problems
from job_fetcher.config.sources import lower_case, written
from job_fetcher.core.errors import SettingsError

T = TypeVar("T", bound=BaseSettings)


def read(settings: type[T], fields: Mapping[str, Any], env_file: Path | None) -> T:
    """The `settings` of this process, whose `fields` are pydantic's `FieldInfo`, by their names in lower case.

    Raises `SettingsError`.
    """
    environment = lower_case(os.environ)
    values, cut = written(env_file) if env_file and env_file.is_file() else ({}, {})
    in_env_file = lower_case(values)
    known = {name: value for name, value in in_env_file.items() if name in fields}
    secrets = {name for name, field in fields.items() if "SecretStr" in str(field.annotation)}
    commented = {name: value for name, value in known.items() if value.startswith("#")}
    commented |= {name: text for name, text in lower_case(cut).items() if name in secrets}
    found = (
        problems.with_more_than_the_value(commented | environment, set(fields), secrets)
        | problems.of_names(in_env_file | environment, fields)
        | problems.of_proxies(getproxies_environment())
    )
    result = None
    try:
        result = settings(**known)  # type: ignore[arg-type] # text, which is parsed
    except ValidationError as error:
        found = problems.of_validation(error, known | environment, secrets) | found
    if result is None or found:
        lines = "\n".join(f"  {found[name]}" for name in sorted(found, key=[*fields, *found].index))
        raise SettingsError(f"The worker cannot use its settings:\n{lines}")
    return result
