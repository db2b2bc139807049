"""What failed requests mean, by the words of their errors alone."""

import pytest
import requests

from job_fetcher.core.errors import InvalidAnswer, NotThePlatform, Unavailable
from job_fetcher.platform import answers, http
from job_fetcher.platform.diagnosis import FIREWALL, hint, with_hint

MISREAD = ["superresolution", "certificates", "refused", "SSL", "answered 500"]


@pytest.mark.parametrize("path", MISREAD)
def test_an_address_may_be_called_anything(path: str) -> None:
    host = path.split()[0]
    assert hint(Unavailable(f"GET https://{host}.example/{path.replace(' ', '%20')}: no answer in time")) == FIREWALL


@pytest.mark.parametrize("path", MISREAD[:-1])
def test_a_path_that_nobody_listens_at_may_be_called_anything(path: str) -> None:
    with pytest.raises(Unavailable) as raised:
        http.send("GET", f"http://127.0.0.1:9/{path}")
    assert hint(raised.value).startswith("nothing listens there")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "certificate verify failed: certificate has expired (_ssl.c:1006)",
            "its certificate has expired or is not valid yet",
        ),
        (
            "certificate verify failed: certificate is not yet valid (_ssl.c:1006)",
            "its certificate has expired or is not valid yet",
        ),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol", "a firewall or proxy may be"),
        ("Failed to resolve 'mismatch.example' ([Errno -2] Name or service not known)", "there is no such host"),
    ],
)
def test_words_of_the_library_have_a_meaning(words: str, told: str) -> None:
    assert hint(Unavailable(f"GET https://api.example.org/jobs: {words}")).startswith(told)


def test_a_page_of_somebody_else_is_explained_unless_it_tells_what_to_do_itself() -> None:
    page = InvalidAnswer("GET http://x/access_info answered 200 with something that is not understood")
    assert with_hint(page) == (
        f"{page} - something else answers than the platform: correct API_URL, or open that address in a browser on this"
        " machine. The network may want a login, or a firewall may block it"
    )
    told = InvalidAnswer("GET http://x/jobs answered 404, which is not confirmed: correct API_URL")
    assert with_hint(told) == str(told)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_only_the_owner_of_the_worker_reads_what_mends_a_redirect(status: int) -> None:
    """A job's user reads the error itself, and cannot set API_URL."""
    response = requests.Response()
    response.status_code, response.url, response.headers["Location"] = (
        status,
        "http://x/jobs",
        "http://y/refused?a=hush",
    )
    response.request = requests.Request("GET", "http://x/jobs").prepare()
    with pytest.raises(NotThePlatform) as raised:
        answers.expect_success(response)
    assert str(raised.value) == f"GET http://x/jobs answered {status}, a redirect to http://y/refused"
    assert with_hint(raised.value) == f"{raised.value} - if that stays so, set API_URL to the new address"
