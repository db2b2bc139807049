"""Logging in at the stand-in for Cognito, and what the API accepts."""

from typing import Any

import pytest
import requests

from tests.mock_api.conftest import TIMEOUT_S, Client, Clock

HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
}


def initiate_auth(url: str, flow: str, **parameters: str) -> requests.Response:
    client_id = requests.get(f"{url}/access_info", timeout=TIMEOUT_S).json()["cognito"]["client_id"]
    body = {"AuthFlow": flow, "ClientId": client_id, "AuthParameters": parameters}
    return requests.post(f"{url}/cognito/", headers=HEADERS, json=body, timeout=TIMEOUT_S)


def log_in(url: str, username: str = "worker", password: str = "Worker-password-1") -> Any:
    return initiate_auth(url, "USER_PASSWORD_AUTH", USERNAME=username, PASSWORD=password).json()


def poll(url: str, token: str | None) -> int:
    return Client(url, token).request("GET", "/jobs", params={"memory": 1}).status_code


def test_access_info_needs_no_token_and_names_the_user_pool(url: str) -> None:
    info = requests.get(f"{url}/access_info", timeout=TIMEOUT_S).json()
    assert info["cognito"].keys() == {"user_pool_id", "client_id", "region"}


def test_only_the_id_token_is_accepted_by_the_api(url: str) -> None:
    result = log_in(url)["AuthenticationResult"]
    assert result["ExpiresIn"] == 3600
    assert poll(url, result["IdToken"]) == 200
    assert poll(url, result["AccessToken"]) == 401
    assert poll(url, result["RefreshToken"]) == 401


def test_a_token_expires_and_a_refresh_gives_a_new_one_without_a_new_refresh_token(url: str, clock: Clock) -> None:
    tokens = log_in(url)["AuthenticationResult"]
    clock.now += 3600
    assert poll(url, tokens["IdToken"]) == 401
    refreshed = initiate_auth(url, "REFRESH_TOKEN_AUTH", REFRESH_TOKEN=tokens["RefreshToken"]).json()
    assert "RefreshToken" not in refreshed["AuthenticationResult"]
    assert poll(url, refreshed["AuthenticationResult"]["IdToken"]) == 200


def test_the_lifetime_of_tokens_can_be_set_while_it_runs(url: str, worker: Client) -> None:
    worker.helper("POST", "/_config", {"expires_in": 300})
    assert log_in(url)["AuthenticationResult"]["ExpiresIn"] == 300


def test_revoked_tokens_are_refused_and_later_ones_are_not(url: str, worker: Client) -> None:
    tokens = log_in(url)["AuthenticationResult"]
    worker.helper("POST", "/_config", {"revoke": [{"tokens": "refresh", "username": "worker"}, {"tokens": "id"}]})
    assert poll(url, tokens["IdToken"]) == 401
    refused = initiate_auth(url, "REFRESH_TOKEN_AUTH", REFRESH_TOKEN=tokens["RefreshToken"])
    assert (refused.status_code, refused.json()["__type"]) == (400, "NotAuthorizedException")
    assert poll(url, log_in(url)["AuthenticationResult"]["IdToken"]) == 200


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 403), ("forged", 401), ("a.b.c", 401), ("newcomer-fixed-token", 403), ("worker-fixed-token", 200)],
)
def test_no_token_is_403_a_bad_one_401_an_unapproved_account_403(url: str, token: str | None, status: int) -> None:
    assert poll(url, token) == status


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("unconfirmed", "UserNotConfirmedException"),
        ("reset_required", "PasswordResetRequiredException"),
        ("disabled", "NotAuthorizedException"),
    ],
)
def test_an_account_that_is_not_ready_is_told_why(url: str, worker: Client, state: str, kind: str) -> None:
    worker.helper("POST", "/_config", {"accounts": [{"username": "anna", "password": "pw", "state": state}]})
    assert log_in(url, "anna", "pw")["__type"] == kind


def test_an_account_that_needs_a_new_password_gets_a_challenge_instead_of_tokens(url: str, worker: Client) -> None:
    anna = {"username": "anna", "password": "pw", "state": "new_password_required"}
    worker.helper("POST", "/_config", {"accounts": [anna]})
    answer = log_in(url, "anna", "pw")
    assert answer["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    assert answer["Session"]
    assert "AuthenticationResult" not in answer


@pytest.mark.parametrize(
    ("username", "password", "kind"),
    [
        ("worker", "wrong", "NotAuthorizedException"),
        ("nobody", "x", "UserNotFoundException"),
        ("", "x", "InvalidParameterException"),
    ],
)
def test_a_login_that_cannot_succeed_names_its_kind(url: str, username: str, password: str, kind: str) -> None:
    answer = initiate_auth(url, "USER_PASSWORD_AUTH", USERNAME=username, PASSWORD=password)
    assert (answer.status_code, answer.json()["__type"]) == (400, kind)
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
