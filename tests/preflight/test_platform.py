"""What a first start gets wrong with the platform: its address, the account, the clock, the line."""

import email.utils
import json
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from app.config import Account
from job_fetcher.config.settings import Settings
from job_fetcher.engine import client as engine
from job_fetcher.platform import http
from job_fetcher.platform.auth import LOCKED
from job_fetcher.preflight import Preflight
from tests.preflight.conftest import Check
from tests.support.platform import PASSWORD, Platform
from tests.support.raw_server import answer, raw_server

ACCESS_INFO = b'{"cognito": {"user_pool_id": "x", "client_id": "x", "region": "eu-central-1"}}'
REFUSED = "The platform refuses USERNAME and PASSWORD: check both, and that the account is enabled"
NOT_CONFIRMED = (
    "The account 'ada' is not confirmed yet: open the link in the mail that the platform sent when it was made"
)
NO_PASSWORD_YET = (
    "The account 'ada' needs a new password: log in on the platform's website once to choose it, then set PASSWORD"
    " to it"
)


def test_wrong_password(check: Check) -> None:
    assert check(PASSWORD="not-the-password").sentence("credentials") == REFUSED


def test_account_that_there_is_not(check: Check) -> None:
    sentence = check(USERNAME="nobody").sentence("credentials")
    assert sentence == "The platform knows no account 'nobody': check USERNAME"


@pytest.mark.parametrize(
    ("state", "sentence"),
    [("unconfirmed", NOT_CONFIRMED), ("new_password_required", NO_PASSWORD_YET)],
)
def test_account_that_is_not_ready(check: Check, mock: Platform, state: str, sentence: str) -> None:
    mock.state.accounts.put(Account.model_validate({"username": "ada", "password": PASSWORD, "state": state}))
    assert check(USERNAME="ada").sentence("credentials") == sentence


def test_account_that_is_not_approved_as_a_worker(check: Check) -> None:
    report = check(USERNAME="newcomer", PASSWORD="Newcomer-password-1")
    assert report.sentence("credentials") == (
        "The API lets this account do nothing (403): it is not approved as a worker yet. Ask the platform to add it"
        " to the group 'workers'"
    )


def test_token_that_has_expired(check: Check, mock: Platform) -> None:
    token = mock.cognito_token().bearer()
    mock.pass_time(3601)
    report = check(USERNAME=None, PASSWORD=None, ACCESS_TOKEN=token)
    assert report.sentence("credentials") == (
        "The API refuses ACCESS_TOKEN (401): it is expired or wrong, set a new one"
    )


def test_address_where_nothing_listens(check: Check) -> None:
    sentence = check(API_URL="http://127.0.0.1:9").sentence("API")
    assert sentence.endswith(
        "Connection refused - nothing listens there: correct the address and its port (from a container this machine is"
        " host.docker.internal)"
    )


def test_login_service_that_cannot_be_reached(check: Check) -> None:
    sentence = check(AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER="http://127.0.0.1:9").sentence("credentials")
    assert sentence.startswith("POST http://127.0.0.1:9: ")
    assert "Connection refused - nothing listens there: correct the address and its port" in sentence


def test_login_service_that_is_asked_too_often(check: Check, mock: Platform) -> None:
    mock.fault("/cognito*", status=400, body='{"__type": "TooManyRequestsException"}')
    sentence = check().sentence("credentials")
    assert sentence == "Cognito answered 400 TooManyRequestsException - too many ask at the same time: try again later"


def test_account_that_too_many_wrong_passwords_have_locked(check: Check, mock: Platform) -> None:
    mock.fault("/cognito*", status=400, body=json.dumps({"__type": "NotAuthorizedException", "message": LOCKED}))
    assert check(PASSWORD="right-now").sentence("credentials") == (
        "The platform has locked the account 'worker' after too many wrong passwords. Stop the worker (docker rm -f"
        " job-fetcher) and wait 15 minutes. Log in on the platform's website, then start the worker with that password"
    )


def test_proxy_that_is_not_there(check: Check) -> None:
    proxy = {"HTTPS_PROXY": "http://ada:s3cret@127.0.0.1:9", "NO_PROXY": ""}
    sentence = check(API_URL="https://api.example.org", **proxy).sentence("API")
    assert sentence.startswith("GET https://api.example.org/access_info: through the proxy: ")
    assert sentence.endswith(
        " - the proxy cannot be used: correct HTTPS_PROXY or HTTP_PROXY, or name the host in NO_PROXY"
    )
    assert "s3cret" not in sentence


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (
            "407 Proxy Authentication Required",
            "the proxy wants an account: write it into HTTPS_PROXY (or HTTP_PROXY), as http://NAME:PASSWORD@HOST:PORT",
        ),
        ("502 Bad Gateway", ""),
    ],
)
def test_proxy_that_lets_nobody_pass(check: Check, scheme: str, status: str, meaning: str) -> None:
    meaning = (
        meaning
        or {
            "http": "the platform has a fault: try again later",
            "https": "the proxy does not let it pass: ask who runs it",
        }[scheme]
    )
    with raw_server(answer(status=status)) as proxy:
        settings = {"API_URL": f"{scheme}://api.example", "HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url}
        sentence = check(ALLOW_INSECURE_HTTP="true", **settings).sentence("API")
    assert sentence.endswith(f" - {meaning}")


def test_proxy_that_cannot_be_one_is_told_by_its_name(check: Check) -> None:
    sentence = check(HTTPS_PROXY="http://ada:s3cr#et@proxy:3128").crosses[0][1]
    assert sentence.startswith("HTTPS_PROXY: write the address of an HTTP proxy, such as http://proxy")
    assert "s3cr" not in sentence


def test_host_that_there_is_not(check: Check) -> None:
    sentence = check(API_URL="https://no-such-host.invalid").sentence("API")
    assert sentence.startswith("GET https://no-such-host.invalid/access_info: ")
    assert sentence.endswith(" - there is no such host: correct the address, or this machine's DNS")


@pytest.mark.parametrize("page", [answer(b"<html>", content_type="text/html"), answer(status="404 Not Found")])
def test_address_of_another_web_server(check: Check, page: bytes) -> None:
    with raw_server(page) as other:
        sentence = check(API_URL=other.url).sentence("API")
    assert sentence.startswith(f"API_URL ({other.url}) is not the address of the platform's API")


def test_address_that_redirects(check: Check) -> None:
    with raw_server(answer(status="308 Permanent Redirect", location="https://api.example.org/access_info")) as old:
        sentence = check(API_URL=old.url).sentence("API")
    assert sentence.endswith(
        "a redirect to https://api.example.org/access_info - if that stays so, set API_URL to the new address"
    )


def test_platform_in_trouble(check: Check, mock: Platform) -> None:
    mock.fault("/access_info", status=502)
    sentence = check().sentence("API")
    assert sentence.endswith("/access_info answered 502 - the platform has a fault: try again later")


def test_certificate_that_is_not_accepted(check: Check, tmp_path: Path) -> None:
    with raw_server(answer(ACCESS_INFO), tls=self_signed(tmp_path)) as unknown:
        sentence = check(API_URL=unknown.url).sentence("API")
    assert "self-signed certificate" in sentence.replace("self signed", "self-signed")
    assert sentence.endswith(
        " - its certificate is not accepted: if a proxy reads along, set REQUESTS_CA_BUNDLE to the file with the"
        " proxy's CA certificate"
    )


def test_certificates_of_a_proxy_that_nobody_has_mounted(check: Check) -> None:
    sentence = check(API_URL="https://api.example.org", REQUESTS_CA_BUNDLE="/etc/ssl/corp.pem").sentence("API")
    assert sentence.endswith(
        "invalid path: /etc/ssl/corp.pem - REQUESTS_CA_BUNDLE has to be a file with certificates: in a container, mount"
        " it there (-v FILE:FILE:ro)"
    )


def test_certificate_of_another_host(check: Check, tmp_path: Path) -> None:
    with raw_server(answer(ACCESS_INFO), tls=self_signed(tmp_path)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        sentence = check(API_URL=url, REQUESTS_CA_BUNDLE=f"{tmp_path}/certificate.pem").sentence("API")
    assert sentence.endswith(" - its certificate is another host's: correct the address")


def test_https_where_nobody_speaks_it(check: Check, mock: Platform) -> None:
    sentence = check(API_URL=mock.url.replace("http://", "https://")).sentence("API")
    assert sentence.endswith(" - nobody speaks TLS there: correct the address, its https:// or its port")


def test_credentials_that_anybody_could_read(check: Check) -> None:
    assert check(API_URL="http://api.example.org").sentence("settings") == (
        "ALLOW_INSECURE_HTTP: the worker would send credentials to http://api.example.org unencrypted; write https://,"
        " or set this to true if you mean it"
    )


def test_clock_that_is_10_minutes_off(check: Check) -> None:
    date = email.utils.formatdate(time.time() + 600, usegmt=True)
    with raw_server(answer(ACCESS_INFO, date=date)) as api:
        sentence = check(API_URL=api.url).sentence("API")
    assert sentence == (
        "This machine's clock is 10 minutes behind the API's: set it from the network (timedatectl set-ntp true)"
    )


@pytest.mark.parametrize(("method", "path"), [("GET", "/files/*/download"), ("POST", "/store/*")])
def test_storage_that_cannot_be_reached(check: Check, mock: Platform, method: str, path: str) -> None:
    mock.fault(path, method, cut="before")
    sentence = check().sentence("storage")
    assert sentence.startswith("The storage cannot be used: ")
    assert sentence.endswith(" - a firewall or proxy may be between: let HTTPS pass to there")


def test_storage_that_gives_something_else_back(check: Check, mock: Platform) -> None:
    mock.fault("/files/*/download", "GET", body="<html>")
    sentence = check().sentence("storage")
    assert sentence.startswith(
        "The storage cannot be used: the storage sends back (200) something else than it was sent - "
    )


@pytest.mark.parametrize("error", [http.UnusableRequest("no address"), engine.Missing("no such thing")])
def test_no_error_of_ours_ends_the_check(error: Exception) -> None:
    def fail() -> Settings:
        raise error

    first = next(Preflight(fail).run())
    assert (first.name, first.ok, first.text) == ("settings", False, str(error))


def test_all_that_is_wrong_with_the_settings_is_told_a_line_each(check: Check) -> None:
    report = check(API_URL="api.example.org", USERNAME=None, TIMEOUT_JOB="'30'", MIN_FREE_GIB="10 # GiB")
    told = [text for name, text in report.crosses if name == "settings"]
    assert (report.code, len(told)) == (1, len(report.crosses))
    assert [text.split()[0].rstrip(":") for text in told] == ["API_URL", "USERNAME", "TIMEOUT_JOB", "MIN_FREE_GIB"]
    assert set(report.ticks) == {"engine", "container", "GPU", "GPU in a container"}  # as far as it goes without


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's certificate that nobody else has signed."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_address_of_the_users_api(check: Check, mock: Platform) -> None:
    """It has the same `access_info`, and answers 404 to `/jobs/0/status` as the workers' API does."""
    mock.configure(api="users")
    sentence = check().sentence("credentials")
    assert sentence == (
        f"API_URL ({mock.url}) is the address of the users' API, and not of the workers' API ({mock.url}/jobs"
        " answered 200). Set API_URL to the address that the platform gives for workers"
    )


@pytest.mark.parametrize("answered", [{"status": 404, "detail": "Not Found"}, {"status": 405, "detail": "No"}])
def test_address_of_another_application(check: Check, mock: Platform, answered: dict[str, Any]) -> None:
    mock.fault("/jobs", **answered)
    sentence = check().sentence("credentials")
    assert sentence.startswith(f"API_URL ({mock.url}) is the address of another API, perhaps the users' API, ")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_page_in_place_of_the_api(check: Check, mock: Platform, status: int) -> None:
    mock.fault("/jobs", status=status, body="<html>")
    sentence = check().sentence("credentials")
    assert sentence.startswith(f"GET {mock.url}/jobs answered {status}, with a page that is not the platform's - ")


@pytest.mark.parametrize("groups", ["decode", "decode,comet", " decode , comet,"])
def test_groups_are_told_with_the_offer(check: Check, groups: str) -> None:
    offer = check(JOB_GROUPS=groups).ticks["offer"]
    assert "groups=decode" in offer
    assert ("groups=comet" in offer) == ("comet" in groups)
