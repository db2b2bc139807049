"""What a failed request means for the person who lends the machine, and what mends it."""

import re

from job_fetcher.core.errors import InvalidAnswer

FIREWALL = "a firewall or proxy may be between: let HTTPS pass to there"
HINTS = (
    ("a redirect to", "if that stays so, set API_URL to the new address"),
    (
        "through the proxy: .* 407 |answered 407",
        "the proxy wants an account: write it into HTTPS_PROXY (or HTTP_PROXY), as http://NAME:PASSWORD@HOST:PORT",
    ),
    ("through the proxy: Tunnel connection failed", "the proxy does not let it pass: ask who runs it"),
    ("through the proxy", "the proxy cannot be used: correct HTTPS_PROXY or HTTP_PROXY, or name the host in NO_PROXY"),
    ("not known|No address|resol", "there is no such host: correct the address, or this machine's DNS"),
    (
        "CA certificate bundle|NO_CERTIFICATE_OR_CRL",
        "REQUESTS_CA_BUNDLE has to be a file with certificates: in a container, mount it there (-v FILE:FILE:ro)",
    ),
    (
        "has expired|not yet valid",
        "its certificate has expired or is not valid yet: set this machine's clock, or ask who runs it",
    ),
    ("mismatch|not valid for", "its certificate is another host's: correct the address"),
    (
        "[Cc]ertificate",
        "its certificate is not accepted: if a proxy reads along, set REQUESTS_CA_BUNDLE to the file with the proxy's"
        " CA certificate",
    ),
    ("WRONG_VERSION_NUMBER|record layer", "nobody speaks TLS there: correct the address, its https:// or its port"),
    (
        "refused",
        "nothing listens there: correct the address and its port (from a container this machine is"
        " host.docker.internal)",
    ),
    ("TooManyRequests|LimitExceeded|answered 429", "too many ask at the same time: try again later"),
    ("answered 5|answered 408|InternalError", "the platform has a fault: try again later"),
    ("no connection within|unreachable|no answer|SSL|EOF|reset|closed connection", FIREWALL),
)
"""By words of the error, the first that fits."""


def hint(error: Exception) -> str:
    """What a failed request means and how that is mended; empty if it is not known, or stands in the error itself."""
    words = re.sub(r"https?://\S+", "", str(error))  # a host or a path may be called anything
    for pattern, found in HINTS:
        if re.search(pattern, words):
            return found
    if isinstance(error, InvalidAnswer) and "API_URL" not in words:
        return (
            "something else answers than the platform: correct API_URL, or open that address in a browser on this"
            " machine. The network may want a login, or a firewall may block it"
        )
    return ""


def with_hint(error: Exception) -> str:
    """The error with its meaning, in one line."""
    return " - ".join(filter(None, (str(error), hint(error))))
