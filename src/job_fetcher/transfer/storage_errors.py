"""What a storage's error says. S3 answers in XML, with a code and a message (Amazon S3 API, "Error responses")."""

import html
import re

import requests

from job_fetcher.platform import http

_READ = 4_000
"""Characters of an answer that are looked through for S3's elements."""
_SHOWN = 200


def code(response: requests.Response) -> str:
    """S3's code for the error, such as `RequestTimeout`; empty if the answer has none."""
    return _element("Code", http.said(response, _READ))


def explain(response: requests.Response) -> str:
    """`Code: Message` of S3's XML, else the beginning of the body, which is read once if it is streamed."""
    text = http.said(response, _READ)
    words = [word for name in ("Code", "Message") if (word := _element(name, text))]
    return ": ".join(words)[:_SHOWN].rstrip(".") or text[:_SHOWN]


def _element(name: str, xml: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return html.unescape(found[1]).strip() if found else ""
