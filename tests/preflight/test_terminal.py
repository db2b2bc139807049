"""The check at a terminal that is not as terminals are now, and one that somebody has no patience for."""

import os
import signal
import subprocess
import sys

from tests.support.platform import Platform

CHECK = [sys.executable, "-m", "job_fetcher", "check"]


def test_terminal_without_a_tick_gets_another_sign() -> None:
    told = subprocess.run(CHECK, env={"PYTHONIOENCODING": "latin-1"}, check=False, capture_output=True, cwd="/")
    assert (told.returncode, told.stderr) == (1, b"")
    assert told.stdout.startswith(b"? settings ")


def test_check_that_is_interrupted_ends_without_a_traceback(mock: Platform) -> None:
    asked = mock.fault("/access_info", hang=True)
    environment = {**os.environ, "API_URL": mock.url, "ACCESS_TOKEN": "x"}
    with subprocess.Popen(CHECK, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as check:
        assert check.stdout is not None
        assert check.stderr is not None
        assert "settings" in check.stdout.readline()
        mock.wait_until(lambda: asked.matched > 0, "the check to wait for the platform")
        check.send_signal(signal.SIGINT)
        assert (check.wait(60), check.stderr.read()) == (128 + signal.SIGINT, "")
