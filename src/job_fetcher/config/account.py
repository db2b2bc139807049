"""The settings of the account at the platform: where it is, and who the worker is there."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from job_fetcher.config.values import HttpUrl, SecretFile, Token, is_near, read_secret


class Group(BaseModel):
    """Settings that belong together; frozen, and without values in its errors, since some values are secrets."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Account(Group):
    """Which platform, and who the worker is there."""

    api_url: HttpUrl = Field(description="Address of the platform's API")
    access_token: Token | None = Field(default=None, description="A fixed token, in place of `USERNAME` and `PASSWORD`")
    username: str | None = Field(default=None, description="Your account on the platform")
    password: SecretStr | None = Field(default=None, description="The password of this account", validate_default=True)
    access_token_file: SecretFile | None = Field(
        default=None, description="File that holds the token, e.g. a Docker secret"
    )
    password_file: SecretFile | None = Field(
        default=None, description="File that holds the password, e.g. a Docker secret"
    )
    aws_endpoint_url_cognito_identity_provider: HttpUrl | None = Field(
        default=None, description="Address of the login service, in place of AWS's own: that of a mock or a proxy"
    )
    allow_insecure_http: bool = Field(
        default=False, description="Send credentials over plain http:// to other networks", validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take `PASSWORD` and `ACCESS_TOKEN` from their files. A file's own setting reports what is wrong with it."""
        for name in ("password", "access_token"):
            if (file := values.get(f"{name}_file")) and not values.get(name):
                with suppress(OSError, UnicodeError):
                    values[name] = read_secret(Path(file)) or None
        return values

    @field_validator("allow_insecure_http")
    @classmethod
    def _hides_credentials(cls, allowed: bool, info: ValidationInfo) -> bool:
        for url in filter(None, map(info.data.get, ("api_url", "aws_endpoint_url_cognito_identity_provider"))):
            if url.startswith("http://") and not is_near(url) and not allowed:
                raise ValueError(
                    f"the worker would send credentials to {url} unencrypted; write https://, or set this to"
                    " true if you mean it"
                )
        return allowed

    @field_validator("password")
    @classmethod
    def _has_credentials(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Runs for the last of the three settings, so that it reports beside the other errors."""
        username = info.data.get("username")
        token = info.data.get("access_token", "refused")  # absent if the token itself is wrong
        if token is None and (username is None or password is None):
            if username is None and password is None:
                raise _not_set("Neither USERNAME and PASSWORD nor ACCESS_TOKEN are set")
            raise _not_set("PASSWORD is not set" if password is None else "USERNAME is not set")
        return password


def _not_set(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("not_set", "{sentence}", {"sentence": sentence})
