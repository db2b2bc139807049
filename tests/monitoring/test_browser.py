"""The page in a real browser, during real jobs in real containers."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright
from scripts import screenshots

from tests.support.page import answers
from tests.support.platform import Platform
from tests.support.ports import free_port
from tests.support.worker import WorkerProcess, run_job, wait_until

HARM = (
    "printf '\\033[2J\\033]0;x\\007<script>window.harmed = 1</script><img src=x onerror=window.harmed=1>\\377\\376\\n'"
)
LONG = "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo after the long line"
WAIT = "until [ -e /files/go ]; do sleep 0.02; done; echo the last line; until [ -e /files/end ]; do sleep 0.02; done"


expect.set_options(timeout=60_000)
UPLOADED = re.compile(r"upload: 1\.0 GiB of 3\.0 GiB(, .*)?")
"""With the speed, as soon as the upload has been on its way for long enough to tell it."""


class Watched:
    """A page, and what it must not do: errors, and requests to another host."""

    def __init__(self, page: Page) -> None:
        self.page, self.errors, self.hosts = page, list[str](), set[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def serious_faults(self) -> list[str]:
        """What axe-core finds that keeps people out."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['help']}" for each in found if each["impact"] in ("serious", "critical")]


@pytest.fixture
def watched(needs_browser: None) -> Iterator[Watched]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=screenshots.browser(), args=["--no-sandbox"], timeout=120_000
        )
        yield Watched(running.new_page())
        running.close()


def test_page_follows_jobs_to_their_end_over_a_restart_and_no_log_harms_it(
    mock: Platform, start_worker: Callable[..., WorkerProcess], job_image: str, watched: Watched
) -> None:
    port = free_port()
    worker = start_worker(STATUS_PORT=str(port))
    wait_until(lambda: answers(port), "the page")
    page = watched.page
    page.goto(f"http://localhost:{port}/")
    expect(page.locator("#doing")).to_contain_text("waits for a job")
    assert watched.serious_faults() == []

    mock.fault("*/url", delay_s=1, times=1)
    job = mock.submit(f"{HARM}; {LONG}; {WAIT}", image=job_image, files={"data/a": b"x"}, meta={"job_id": 2})
    expect(page.locator("#job-stages")).to_contain_text("preprocessing")
    expect(page.locator("#job-name")).to_contain_text("user's job 2")
    expect(page.locator("#log")).to_contain_text("after the long line")
    (worker.base / job / "files" / "go").touch()
    expect(page.locator("#log")).to_contain_text("the last line")
    assert watched.serious_faults() == []
    (worker.base / job / "files" / "end").touch()
    expect(page.locator("#jobs li").first).to_contain_text(f"finished · job {job}")

    failed = run_job(mock, "exit 3", image=job_image)
    expect(page.locator("#jobs li").first).to_contain_text(f"error · job {failed}")
    expect(page.locator("#jobs li").first).to_contain_text("The command ended with exit code 3")
    page.locator("#jobs summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#jobs details").first).to_have_attribute("open", "")
    assert watched.errors == []

    assert worker.stop() == 0
    expect(page.locator("#doing")).to_contain_text("does not answer")
    worker.start()
    expect(page.locator("#doing")).to_contain_text("waits for a job")
    expect(page.locator("#jobs li")).to_have_count(2)
    of_the_page = [each for each in watched.errors if "net::ERR_" not in each]  # else it ended during an answer, say
    assert of_the_page == []
    assert page.evaluate("window.harmed") is None
    assert watched.hosts - {""} == {f"localhost:{port}"}  # a picture within the page has no host
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= 360"), "it is wider than a phone"
    assert watched.serious_faults() == []

    with screenshots.served(screenshots.BEHIND) as url:
        page.goto(url)
        expect(page.locator("#behind-name")).to_contain_text("job 4710, user's job 1, decode/v0_10_1")
        expect(page.locator("#behind progress")).to_have_attribute("aria-label", UPLOADED)
        expect(page.locator("#job-progress progress")).to_have_count(0)
        assert watched.serious_faults() == []
