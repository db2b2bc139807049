"""The web server of `STATUS_PORT`: waitress serves, bottle finds the route. It reads only, and changes nothing.

waitress holds what a client does not read in memory and in files, and limits connections: clients that are slow cost a
buffer each, and no thread. Whatever happens here, the jobs go on; the log says it once.
"""

import base64
import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

import bottle
import waitress

from job_fetcher.core import health
from job_fetcher.monitoring.access import Access
from job_fetcher.monitoring.history import History
from job_fetcher.monitoring.metrics import CONTENT_TYPE, Metrics
from job_fetcher.monitoring.recorder import Recorder

THREADS = 4
CONNECTIONS = 64
"""Clients at a time; more of them wait."""
IDLE_S = 30
"""A client that neither sends nor reads is left after so many seconds."""
SHOWN = 50
"""Jobs of the history that the page shows, and `/jobs.json` has unless it is asked for more."""

log = logging.getLogger(__name__)
Tail = Callable[[], str]


def app(recorder: Recorder, history: History, access: Access, tail: Tail) -> bottle.Bottle:
    """The application: every route, behind the check who asks."""
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    policy = content_security_policy(page)
    routes = bottle.Bottle()
    metrics = Metrics(recorder)

    def check() -> None:
        request = bottle.request
        refusal = access.refusal(request.environ.get("REMOTE_ADDR", ""), request.get_header("Host", ""))
        if refusal is not None:
            raise bottle.HTTPResponse(f"{refusal}\n", 403, headers={"Content-Type": "text/plain; charset=utf-8"})

    def protect() -> None:
        for name, value in _HEADERS.items():
            bottle.response.set_header(name, value)
        bottle.response.set_header("Content-Security-Policy", policy)

    routes.add_hook("before_request", check)
    routes.add_hook("after_request", protect)

    def route(path: str, content_type: str, answer: Callable[[], str | bytes]) -> None:
        def call() -> str | bytes:
            bottle.response.content_type = content_type
            return answer()

        routes.get(path, callback=call)

    route("/", "text/html; charset=utf-8", lambda: page)
    route("/status.json", "application/json", lambda: recorder.status().model_dump_json())
    route("/jobs.json", "application/json", lambda: _jobs(history, bottle.request.query.get("last", "")))
    route("/log.txt", "text/plain; charset=utf-8", tail)
    route("/metrics", CONTENT_TYPE, metrics.text)
    route("/healthz", "text/plain; charset=utf-8", _health)
    return routes


_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def content_security_policy(page: str) -> str:
    """The policy for a page: its own style and script, requests to its own server, and nothing else."""
    return "; ".join([
        "default-src 'none'",
        f"style-src {_hashes(page, 'style')}",
        f"script-src {_hashes(page, 'script')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])  # fmt: skip


def _hashes(page: str, tag: str) -> str:
    """The sources of the inline elements `tag`, by their digests (Content Security Policy Level 3)."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _jobs(history: History, wanted: str) -> str:
    count = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else SHOWN
    return "[" + ",".join(each.model_dump_json() for each in history.last(count)) + "]"


def _health() -> str:
    if health.is_well():
        return "ok\n"
    bottle.response.status = 503
    return "The loop or the keep-alive does not get on.\n"


def serve(port: int, recorder: Recorder, history: History, tail: Tail) -> None:
    """Serve for ever. A port that cannot be had is logged once."""
    try:
        access = Access.here()
        logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of every client that waits
        server = waitress.create_server(
            app(recorder, history, access, tail),
            host=access.listen_on,
            port=port,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE_S,
            cleanup_interval=IDLE_S // 2,
            max_request_header_size=16 << 10,
            max_request_body_size=1 << 10,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        log.warning(
            "The worker cannot serve its page: port %d: %s. Free the port, or set another STATUS_PORT. The jobs go on",
            port,
            error.strerror,
        )
        return
    log.info("The page of the worker is at http://127.0.0.1:%d/", port)
    server.run()
