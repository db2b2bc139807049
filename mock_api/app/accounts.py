"""Who may do what: the user pool, its tokens, and what the API accepts of them."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

from .config import Account

CLIENT_ID = "mock-client-id"
USER_POOL_ID = "eu-central-1_mock"
REGION = "eu-central-1"

TokenUse = Literal["id", "access", "refresh"]


class CognitoError(Exception):
    """A refusal as Cognito words it: the `__type` and the message of its 400."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class BadToken(Exception):
    """The token is forged, expired, revoked or not an IdToken (401)."""


class NotAWorker(Exception):
    """The account is not in the group `workers` (403)."""


class Accounts:
    """The user pool. Each app signs with a secret of its own, so that another app's tokens are forged ones here."""

    def __init__(self, accounts: Iterable[Account], now: Callable[[], float]) -> None:
        self._by_name = {account.username: account for account in accounts}
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._issued = 0
        self._revoked_up_to: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()

    def put(self, account: Account) -> None:
        """Add an account, or replace the one of that name."""
        with self._lock:
            self._by_name[account.username] = account

    def revoke(self, use: TokenUse, username: str | None = None) -> None:
        """End all tokens of that use issued so far, of one account or of all. Fixed tokens stay."""
        with self._lock:
            for name in [username] if username else self._by_name:
                self._revoked_up_to[name, use] = self._issued

    # What the API asks.

    def authenticate(self, token: str) -> Account:
        """Return the token's account. Raises `BadToken` or `NotAWorker`."""
        with self._lock:
            fixed = next((a for a in self._by_name.values() if a.access_token == token), None)
            if fixed is not None:
                account, groups = fixed, _groups(fixed)
            else:
                claims = self._claims(token, "id")
                account, groups = self._by_name[claims["sub"]], claims["cognito:groups"]
        if "workers" not in groups:
            raise NotAWorker
        return account

    # What Cognito answers.

    def initiate_auth(self, request: dict[str, Any], expires_in: int) -> dict[str, Any]:
        """Answer `InitiateAuth`. Raises `CognitoError`."""
        if request.get("ClientId") != CLIENT_ID:
            raise CognitoError(
                "ResourceNotFoundException", f"User pool client {request.get('ClientId')} does not exist."
            )
        parameters = request.get("AuthParameters") or {}
        with self._lock:
            match request.get("AuthFlow"):
                case "USER_PASSWORD_AUTH":
                    return self._log_in(parameters, expires_in)
                case "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN":
                    return self._refresh(parameters, expires_in)
                case flow:
                    raise CognitoError("InvalidParameterException", f"Unsupported AuthFlow: {flow}")

    def _log_in(self, parameters: dict[str, str], expires_in: int) -> dict[str, Any]:
        username, password = (_required(parameters, name) for name in ("USERNAME", "PASSWORD"))
        account = self._by_name.get(username)
        if account is None:
            raise CognitoError("UserNotFoundException", "User does not exist.")
        if not hmac.compare_digest(account.password.encode(), password.encode()):
            raise CognitoError("NotAuthorizedException", "Incorrect username or password.")
        if account.state == "new_password_required":
            challenge = {"USER_ID_FOR_SRP": username, "requiredAttributes": "[]", "userAttributes": "{}"}
            session = secrets.token_urlsafe(64)
            return {"ChallengeName": "NEW_PASSWORD_REQUIRED", "ChallengeParameters": challenge, "Session": session}
        _check_state(account)
        result = self._tokens(account, expires_in) | {"RefreshToken": self._token(account, "refresh", 30 * 86400)}
        return {"AuthenticationResult": result, "ChallengeParameters": {}}

    def _refresh(self, parameters: dict[str, str], expires_in: int) -> dict[str, Any]:
        try:
            claims = self._claims(_required(parameters, "REFRESH_TOKEN"), "refresh")
        except BadToken as error:
            raise CognitoError("NotAuthorizedException", str(error)) from error
        account = self._by_name[claims["sub"]]
        _check_state(account)
        return {"AuthenticationResult": self._tokens(account, expires_in), "ChallengeParameters": {}}

    def _tokens(self, account: Account, expires_in: int) -> dict[str, Any]:
        """Id and access token; a refresh gives no new refresh token."""
        return {
            "IdToken": self._token(account, "id", expires_in),
            "AccessToken": self._token(account, "access", expires_in),
            "ExpiresIn": expires_in,
            "TokenType": "Bearer",
        }

    # Tokens: JSON Web Tokens in form, signed with a shared secret instead of the pool's key.

    def _token(self, account: Account, use: TokenUse, lifetime_s: float) -> str:
        self._issued += 1
        claims = {
            "sub": account.username,
            "token_use": use,
            "jti": self._issued,
            "iat": int(self._now()),
            "exp": self._now() + lifetime_s,
            "cognito:groups": _groups(account),
        }
        body = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{body}.{self._signature(body)}"

    def _claims(self, token: str, use: TokenUse) -> dict[str, Any]:
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            raise BadToken(f"Invalid {use} token")
        claims: dict[str, Any] = json.loads(_decode(body.partition(".")[2]))
        if claims["token_use"] != use:
            raise BadToken(f"Invalid {use} token: this is the {claims['token_use']} token")
        if claims["jti"] <= self._revoked_up_to.get((claims["sub"], use), 0):
            raise BadToken(f"The {use} token has been revoked")
        if claims["exp"] <= self._now():
            raise BadToken(f"The {use} token has expired")
        return claims

    def _signature(self, body: str) -> str:
        return _encode(hmac.digest(self._secret, body.encode(), hashlib.sha256))


def _groups(account: Account) -> list[str]:
    return ["workers"] if account.approved else []


def _check_state(account: Account) -> None:
    match account.state:
        case "unconfirmed":
            raise CognitoError("UserNotConfirmedException", "User is not confirmed.")
        case "reset_required":
            raise CognitoError("PasswordResetRequiredException", "Password reset required for the user")
        case "disabled":
            raise CognitoError("NotAuthorizedException", "User is disabled.")


def _required(parameters: dict[str, str], name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise CognitoError("InvalidParameterException", f"Missing required parameter {name}")
    return value


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
