"""Tokens: from the login to the renewal, and what a person is told when there is none."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from app.config import Account
from job_fetcher.core.background import in_background
from job_fetcher.core.errors import CredentialsError, SettingsError, Unavailable
from job_fetcher.platform import auth
from job_fetcher.platform.api import WorkerApi, user_pool
from job_fetcher.platform.auth import LOCKED, CognitoToken, FixedToken, UserPool
from tests.support.aws import Aws
from tests.support.platform import PASSWORD, Platform

LONG_S = 600
OFFER: dict[str, str | int] = {"memory": 1000}


class Clock:
    """The clock by which tokens are renewed."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def logins(mock: Platform) -> int:
    return len(mock.requests("POST", "/cognito"))


def change(mock: Platform, **account: Any) -> None:
    """Change the account `worker`."""
    mock.state.accounts.put(Account(**{"username": "worker", "password": PASSWORD} | account))


def test_a_login_gives_a_token_that_the_api_takes_and_is_kept(mock: Platform) -> None:
    token = mock.cognito_token()
    api = WorkerApi(mock.url, token)
    assert api.pull_job(OFFER) is None
    assert api.pull_job(OFFER) is None
    assert logins(mock) == 1
    assert len(mock.requests("GET", "/access_info")) == 1


@pytest.mark.parametrize(
    ("account", "told"),
    [
        ({"password": "another"}, "refuses USERNAME and PASSWORD: check both"),
        ({"username": "somebody-else"}, "knows no account 'ada': check USERNAME"),
        ({"state": "disabled"}, "check both, and that the account is enabled"),
        ({"state": "unconfirmed"}, "'ada' is not confirmed yet: open the link in the mail"),
        ({"state": "reset_required"}, "password of 'ada' must be reset: do so on the platform's website"),
        ({"state": "new_password_required"}, "'ada' needs a new password: log in on the platform's website once"),
    ],
)
def test_each_refusal_says_what_to_do(mock: Platform, account: dict[str, Any], told: str) -> None:
    mock.state.accounts.put(Account(**{"username": "ada", "password": "hush-hush"} | account))
    with pytest.raises(CredentialsError) as raised:
        mock.cognito_token("ada", "hush-hush").bearer()
    assert told in str(raised.value)
    assert "hush" not in str(raised.value)


def test_an_address_of_the_login_service_that_is_none_is_told_as_a_setting(mock: Platform) -> None:
    token = CognitoToken("ada", SecretStr("hush"), lambda: user_pool(mock.url), "nonsense")
    with pytest.raises(SettingsError, match=r"^The login service cannot be used: POST nonsense: "):
        token.bearer()


def test_an_account_that_is_not_approved_yet_can_log_in_and_is_told(mock: Platform) -> None:
    with pytest.raises(CredentialsError, match="not approved as a worker yet"):
        WorkerApi(mock.url, mock.cognito_token("newcomer", "Newcomer-password-1")).pull_job(OFFER)


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (400, {"__type": "TooManyRequestsException"}, Unavailable, "TooManyRequestsException"),
        (400, {"__type": "com.amazonaws#LimitExceededException"}, Unavailable, "LimitExceededException"),
        (400, {"__type": "com.amazonaws#UserNotFoundException"}, CredentialsError, "knows no account"),
        (400, {"__type": "NotAuthorizedException", "message": LOCKED}, CredentialsError, "has locked the account"),
        (400, {"__type": "NotAuthorizedException", "message": [LOCKED]}, CredentialsError, "check both"),
        (400, {"__type": "InvalidLambdaResponseException"}, CredentialsError, "InvalidLambdaResponseException"),
        (400, "<html>", Unavailable, "400"),
        (403, {"message": "a proxy's"}, Unavailable, "403"),
        (403, {"__type": "ForbiddenException"}, Unavailable, "403"),
        (500, {}, Unavailable, "500"),
        (200, "<html>", Unavailable, "not understood"),
        (200, {"AuthenticationResult": {"IdToken": 7}}, Unavailable, "not understood"),
        (200, {"ChallengeName": "SMS_MFA", "Session": "hush"}, CredentialsError, "another step by a person .SMS_MFA"),
        (200, {}, Unavailable, "neither with tokens nor with a challenge"),
    ],
)
def test_each_answer_of_cognito_is_waited_out_or_final(
    mock: Platform, status: int, body: object, error: type[Exception], told: str
) -> None:
    mock.fault("/cognito/", status=status, body=body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(error, match=told):
        mock.cognito_token().bearer()


@pytest.mark.parametrize(("expires_in", "renewed_after"), [(300, 270), (3600, 3480), (86400, 86280)])
def test_a_token_is_renewed_before_it_expires_with_the_refresh_token(
    mock: Platform, clock: Clock, expires_in: int, renewed_after: int
) -> None:
    mock.configure(expires_in=expires_in)
    token = mock.cognito_token()
    first = token.bearer()
    change(mock, password="changed, so that only the refresh token can work")
    clock.now += renewed_after - 1
    assert token.bearer() == first
    for _ in range(3):
        clock.now += renewed_after
        second = token.bearer()
        assert second != first
        first = second
    assert logins(mock) == 4


def test_a_refresh_token_that_is_refused_is_replaced_by_a_login(mock: Platform, clock: Clock) -> None:
    token = mock.cognito_token()
    first = token.bearer()
    mock.state.accounts.revoke("refresh")
    clock.now += 3600
    assert token.bearer() != first
    assert logins(mock) == 3
    change(mock, state="disabled")
    clock.now += 3600
    with pytest.raises(CredentialsError, match="is enabled"):
        token.bearer()


def test_cognito_out_of_reach_loses_no_token(mock: Platform, clock: Clock) -> None:
    token = mock.cognito_token()
    token.bearer()
    mock.fault("/cognito/", cut="before")
    clock.now += 3600
    with pytest.raises(Unavailable):
        token.bearer()
    mock.heal()
    change(mock, password="changed, so that only the refresh token can work")
    assert token.bearer()


@pytest.mark.parametrize("answer", ["Incorrect username or password.", "User is disabled.", LOCKED])
def test_a_refused_login_is_not_repeated_within_a_minute(mock: Platform, clock: Clock, answer: str) -> None:
    """Cognito locks an account after five wrong passwords, and a job's threads ask for the token all the time."""
    body = json.dumps({"__type": "NotAuthorizedException", "message": answer})
    mock.fault("/cognito/", status=400, body=body)
    token = mock.cognito_token()
    said = set()
    for _ in range(180):
        with pytest.raises(CredentialsError) as raised:
            token.bearer()
        said.add(str(raised.value))
        clock.now += 1
    assert logins(mock) == 3
    assert len(said) == 1
    mock.heal()
    clock.now += 60
    assert token.bearer()


def test_a_401_is_answered_by_a_new_token_once(mock: Platform) -> None:
    api = WorkerApi(mock.url, mock.cognito_token())
    api.pull_job(OFFER)
    mock.state.accounts.revoke("id")
    assert api.pull_job(OFFER) is None
    assert [each.status for each in mock.requests("GET", "/jobs")] == [200, 401, 200]
    always = mock.fault("/jobs", status=401, detail="no")
    with pytest.raises(CredentialsError, match="even a new one"):
        api.pull_job(OFFER)
    assert always.matched == 2


def test_a_fixed_token_that_is_refused_cannot_be_renewed(mock: Platform) -> None:
    with pytest.raises(CredentialsError, match=r"ACCESS_TOKEN .*: it is expired or wrong, set a new one"):
        WorkerApi(mock.url, FixedToken(SecretStr("stale"))).pull_job(OFFER)
    assert len(mock.requests()) == 1


def test_threads_that_renew_at_the_same_time_renew_once(mock: Platform) -> None:
    token = mock.cognito_token()
    rejected = token.bearer()
    arrived = mock.fault("/cognito/", hang=True)
    renewing = [in_background(lambda: token.renew(rejected), f"renew-{n}") for n in range(4)]
    mock.wait_until(lambda: arrived.matched >= 1)
    mock.heal()
    assert len({each.result(timeout=LONG_S) for each in renewing} - {rejected}) == 1
    assert logins(mock) == 2


def test_nothing_that_is_shown_of_a_token_is_secret(mock: Platform) -> None:
    token = mock.cognito_token()
    token.bearer()
    shown = repr(vars(token)) + repr(FixedToken(SecretStr("hush")).__dict__)
    assert PASSWORD not in shown
    assert token.bearer() not in shown
    assert "hush" not in shown


def test_the_login_works_with_an_implementation_that_is_not_ours(aws: Aws, clock: Clock) -> None:
    cognito = aws.cognito
    pool = cognito.create_user_pool(PoolName="pool")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(UserPoolId=pool, ClientName="worker")["UserPoolClient"]["ClientId"]
    user_pool = UserPool(client_id=client, region="eu-central-1")
    token = CognitoToken("ada", SecretStr("Passw0rd!"), lambda: user_pool, aws.url)
    with pytest.raises(CredentialsError, match="knows no account 'ada'"):
        token.bearer()
    cognito.admin_create_user(UserPoolId=pool, Username="ada", TemporaryPassword="Passw0rd!")
    with pytest.raises(CredentialsError, match="needs a new password"):
        token.bearer()
    cognito.admin_set_user_password(UserPoolId=pool, Username="ada", Password="Passw0rd!", Permanent=True)
    first = token.bearer()
    clock.now += 86400
    assert first.count(".") == token.bearer().count(".") == 2
    with pytest.raises(CredentialsError, match="refuses USERNAME and PASSWORD"):
        CognitoToken("ada", SecretStr("wrong"), lambda: user_pool, aws.url).bearer()
