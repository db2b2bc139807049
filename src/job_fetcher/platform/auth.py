"""The token that the API wants: a fixed one, or AWS Cognito's IdToken, renewed before it expires.

Cognito's `InitiateAuth` is one unsigned POST (Amazon Cognito API reference), so no AWS SDK is needed for it.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError

from job_fetcher.core.errors import CredentialsError, InvalidAnswer, SettingsError, Unavailable
from job_fetcher.platform import http

MAX_MARGIN_S = 120.0
"""A token is renewed this long before it expires, or at nine tenths of its life if that is later."""
REFUSED_LOGIN_S = 60.0
"""A refused password is not sent again for so long: Cognito locks an account after five wrong ones.

While a job runs, a refusal is confirmed for three minutes (`core.retry.REFUSED_FOR_S`): four tries at most."""

log = logging.getLogger(__name__)

LOCKED = "Password attempts exceeded"
"""Cognito's message for a while after some wrong passwords (up to 15 minutes), whose type is that of a wrong one."""
REFUSALS = {
    LOCKED: "The platform has locked the account {username!r} after too many wrong passwords. Stop the worker"
    " (docker rm -f job-fetcher) and wait 15 minutes. Log in on the platform's website, then start the worker with that"
    " password",
    "NotAuthorizedException": "The platform refuses USERNAME and PASSWORD: check both, and that the account is enabled",
    "UserNotFoundException": "The platform knows no account {username!r}: check USERNAME",
    "UserNotConfirmedException": "The account {username!r} is not confirmed yet: open the link in the mail that the"
    " platform sent when it was made",
    "PasswordResetRequiredException": "The password of {username!r} must be reset: do so on the platform's website,"
    " then set PASSWORD to the new one",
}
OTHER_REFUSAL = "The platform refuses the login of {username!r}: {kind}"
CHALLENGES = {
    "NEW_PASSWORD_REQUIRED": "The account {username!r} needs a new password: log in on the platform's website once to"
    " choose it, then set PASSWORD to it",
}


class Token(Protocol):
    """Where requests to the API take their token from. Used from several threads."""

    def bearer(self) -> str:
        """A token that is valid now; raises `CredentialsError`, or `Unavailable` if Cognito does not answer."""

    def renew(self, rejected: str) -> str:
        """Another token than `rejected`, which the API has answered with 401; raises as `bearer` does."""


class FixedToken:
    """The token of `ACCESS_TOKEN`, which nothing can renew."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def bearer(self) -> str:
        return self._token.get_secret_value()

    def renew(self, rejected: str) -> str:  # noqa: ARG002 - the protocol's name
        raise CredentialsError("The API refuses ACCESS_TOKEN (401): it is expired or wrong, set a new one")


class UserPool(BaseModel):
    """Where accounts of the platform log in: `cognito` in the API's `access_info`."""

    client_id: str
    region: str = Field(pattern=r"^[a-z0-9-]+$", max_length=40)


def _sendable(token: SecretStr) -> SecretStr:
    """Refuse what no header can hold, without saying what it is."""
    if not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("is no token")
    return token


class _Tokens(BaseModel):
    id_token: Annotated[SecretStr, AfterValidator(_sendable)] = Field(alias="IdToken")
    refresh_token: SecretStr | None = Field(None, alias="RefreshToken")
    expires_in_s: float = Field(alias="ExpiresIn")


class _Answer(BaseModel):
    tokens: _Tokens | None = Field(None, alias="AuthenticationResult")
    challenge: str | None = Field(None, alias="ChallengeName", max_length=100)


class _Refused(Exception):
    """Cognito's answer 400; `kind` is its `__type`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class CognitoToken:
    """The IdToken of a login by username and password.

    It is renewed with the refresh token (`REFRESH_TOKEN_AUTH`), and with the password again when that is refused.
    `user_pool` is asked once, at the first use. `endpoint` replaces Cognito's own address.
    """

    def __init__(
        self,
        username: str,
        password: SecretStr,
        user_pool: Callable[[], UserPool],
        endpoint: str | None = None,
    ) -> None:
        self._username, self._password = username, password
        self._ask_user_pool, self._endpoint = user_pool, endpoint
        self._pool: UserPool | None = None
        self._tokens: _Tokens | None = None
        self._renew_at = 0.0  # on the monotonic clock
        self._refused_at = 0.0  # the same
        self._refusal = ""
        self._lock = threading.Lock()

    def bearer(self) -> str:
        with self._lock:
            if self._tokens is None or time.monotonic() >= self._renew_at:
                self._renew()
            return self._current()

    def renew(self, rejected: str) -> str:
        with self._lock:
            if self._tokens is None or self._current() == rejected:  # else another thread has renewed it already
                self._renew()
            return self._current()

    def _current(self) -> str:
        assert self._tokens is not None
        return self._tokens.id_token.get_secret_value()

    def _renew(self) -> None:
        if self._refusal and time.monotonic() < self._refused_at + REFUSED_LOGIN_S:
            raise CredentialsError(self._refusal, by_login=True)
        self._refusal = ""
        refresh_token = self._tokens.refresh_token if self._tokens else None
        if refresh_token is not None:
            try:
                self._keep(self._ask("REFRESH_TOKEN_AUTH", REFRESH_TOKEN=refresh_token))
            except _Refused as refusal:
                log.info("The refresh token is refused (%s): logging in again", refusal.kind)
            else:
                return
        try:
            answer = self._ask("USER_PASSWORD_AUTH", USERNAME=SecretStr(self._username), PASSWORD=self._password)
        except _Refused as refusal:
            sentence = REFUSALS.get(refusal.kind, OTHER_REFUSAL).format(username=self._username, kind=refusal.kind)
            if refusal.kind in (LOCKED, "NotAuthorizedException"):
                self._refusal, self._refused_at = sentence, time.monotonic()
            raise CredentialsError(sentence, by_login=True) from None
        self._keep(answer)

    def _keep(self, answer: _Answer) -> None:
        if answer.tokens is None:
            otherwise = "The login of {username!r} needs another step by a person ({kind}), which a worker cannot do"
            sentence = CHALLENGES.get(answer.challenge or "", otherwise)
            told = sentence.format(username=self._username, kind=answer.challenge)
            raise CredentialsError(told, by_login=True)
        if answer.tokens.refresh_token is None and self._tokens is not None:  # a refresh gives no new one
            answer.tokens.refresh_token = self._tokens.refresh_token
        self._tokens = answer.tokens
        life_s = answer.tokens.expires_in_s
        self._renew_at = time.monotonic() + life_s - min(MAX_MARGIN_S, life_s / 10)

    def _ask(self, flow: str, **parameters: SecretStr) -> _Answer:
        """One `InitiateAuth`; raises `_Refused` or `Unavailable`, and `SettingsError` if its address is none."""
        if self._pool is None:
            self._pool = self._ask_user_pool()
        try:
            response = http.send(
                "POST",
                self._endpoint or f"https://cognito-idp.{self._pool.region}.amazonaws.com/",
                headers={
                    "Content-Type": "application/x-amz-json-1.1",
                    "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
                },
                json={
                    "AuthFlow": flow,
                    "ClientId": self._pool.client_id,
                    "AuthParameters": {name: value.get_secret_value() for name, value in parameters.items()},
                },
            )
        except http.UnusableRequest as error:
            raise SettingsError(f"The login service cannot be used: {error}") from error
        if response.status_code == 200:
            answer = http.answer(response, _Answer)
            if answer.tokens is None and answer.challenge is None:
                raise InvalidAnswer("Cognito answered neither with tokens nor with a challenge")
            return answer
        kind = _kind(response.content)
        is_refusal = response.status_code == 400  # a firewall of AWS answers 403
        if not is_refusal or kind in (
            "",
            "TooManyRequestsException",
            "LimitExceededException",
            "InternalErrorException",
        ):
            raise Unavailable(f"Cognito answered {response.status_code} {kind}".rstrip(), status=response.status_code)
        raise _Refused(kind)


class _Error(BaseModel):
    kind: str = Field("", alias="__type")
    message: object = None


def _kind(body: bytes) -> str:
    """`__type` of Cognito's error, without a namespace in front of it; `LOCKED` if that is its message."""
    try:
        error = _Error.model_validate_json(body)
    except ValidationError:
        return ""
    return LOCKED if error.message == LOCKED else error.kind.rsplit("#", 1)[-1][:100]
