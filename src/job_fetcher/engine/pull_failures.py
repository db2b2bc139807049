"""Why an image could not be pulled, read from the words of the engine and of the registry: `classify`, a pure function.

Engines pass on a registry's answer as text only, with statuses from 200 to 500. The table of messages in
`tests/engine/test_pull_failures.py` says which engine and which registry each pattern comes from.
"""

import re
from enum import Enum


class Blame(Enum):
    """Whom a failed pull concerns, which decides what becomes of the job."""

    JOB = "job"
    """The registry's own word about the image: the job ends as `error` at once."""
    PASSING = "passing"
    """It may work in a minute: the worker tries again for some minutes, then requeues the job."""
    MACHINE = "machine"
    """This machine cannot pull it, another one may: the worker requeues the job and tells its owner."""


class PullFailure(Enum):
    """What went wrong, and whom it concerns."""

    NO_IMAGE = ("no image", Blame.JOB)
    NO_ACCESS = ("no access", Blame.JOB)
    """`denied`, `unauthorized`: registries answer the same for a private image and for one that does not exist."""
    NOT_AN_IMAGE = ("not an image", Blame.JOB)
    OTHER_PLATFORM = ("other platform", Blame.JOB)
    BAD_NAME = ("bad name", Blame.JOB)
    NO_HOST = ("no host", Blame.JOB)
    """This machine cannot resolve the registry's name. The whole of its DNS may be broken: see `DNS`."""
    BROKEN_CONTENT = ("broken content", Blame.JOB)
    """A wrong digest, or a lost layer. A proxy may have cut it: believed after some tries."""

    RATE_LIMIT = ("rate limit", Blame.PASSING)
    EXPIRED = ("expired", Blame.PASSING)
    """The storage behind the registry refuses a presigned address, or a token has expired in the middle of a pull."""
    REGISTRY_AWAY = ("registry away", Blame.PASSING)
    """5xx, connections that break, pages of something in front of the registry, and words that nobody knows."""
    PRUNED = ("pruned", Blame.PASSING)
    """Something on this machine removes layers while they are pulled."""

    LOGIN = ("login", Blame.MACHINE)
    CERTIFICATE = ("certificate", Blame.MACHINE)
    PLAIN_HTTP = ("plain http", Blame.MACHINE)
    DNS = ("dns", Blame.MACHINE)
    PROXY = ("proxy", Blame.MACHINE)
    DISK = ("disk", Blame.MACHINE)

    @property
    def blame(self) -> Blame:
        """Whom it concerns."""
        return self.value[1]

    @property
    def is_about_image(self) -> bool:
        """Whether a registry was asked and has given its word about the image, rather than nobody having answered."""
        return self.blame is Blame.JOB and self is not PullFailure.NO_HOST


_CODE = r"(?:^|: |\n|\bregistry: )\s*"
"""What stands before a registry's error code in an engine's sentence. No name of an image has a space in it."""
_STATUS = r"(?:^|: |\bhttp(?:/[\d.]+)? |\bstatus:? |\bcode:? |\bregistry )"
"""What stands before an HTTP status: a number elsewhere belongs to a name."""

_PATTERNS: tuple[tuple[PullFailure, str], ...] = (
    (PullFailure.DISK, r"no space left on device|disk quota exceeded|read-only file system"),
    (PullFailure.PROXY, rf"proxyconnect|proxy authentication required|{_STATUS}407\b"),
    (PullFailure.NO_HOST, r"no such host|name or service not known"),
    (PullFailure.DNS, r"lookup [^ ]+(?: on [^ ]+)?: |temporary failure in name resolution"),
    (PullFailure.PLAIN_HTTP, r"server gave http response to https client|first record does not look like a tls"),
    (PullFailure.REGISTRY_AWAY, r"tls handshake timeout"),
    (PullFailure.CERTIFICATE, r"x509: |certificate signed by|failed to verify certificate|remote error: tls: "),
    (PullFailure.RATE_LIMIT, rf"too ?many ?requests|{_STATUS}429\b|rate limit|rate exceeded|data limit exceeded"),
    (PullFailure.REGISTRY_AWAY, r"error parsing http \d+ response body|error unmarshalling|invalid character '"),
    (PullFailure.REGISTRY_AWAY, rf"unexpected end of json input|{_STATUS}5\d\d \(?[a-z]|with status: 404"),
    (PullFailure.EXPIRED, r"failed open: unexpected status.* 40[013]|fetching blob.* 40[013]|request has expired"),
    (PullFailure.OTHER_PLATFORM, r"no matching manifest for|no match for platform|the specified platform"),
    (PullFailure.OTHER_PLATFORM, r"no image found in .* for architecture|cannot be used on this platform"),
    (PullFailure.NOT_AN_IMAGE, r"unsupported (?:\w+ )?(?:media ?type|mime type|content type|schema version)"),
    (PullFailure.NOT_AN_IMAGE, r"media ?type in manifest should be|missing signature key|schema ?1\b|schema version 1"),
    (PullFailure.NOT_AN_IMAGE, r"image format v1|encountered (?:remote|unknown)|invalid rootfs in image config"),
    (PullFailure.NOT_AN_IMAGE, rf"{_CODE}(?:manifest invalid|unsupported)\b"),
    (PullFailure.BROKEN_CONTENT, r"verification failed|unexpected commit digest|failed size validation"),
    (PullFailure.BROKEN_CONTENT, r"digests? (?:did|do|does) not match|digest mismatch|digest invalid"),
    (PullFailure.BROKEN_CONTENT, r"unknown blob|blob unknown|could not fetch content descriptor .* not found"),
    (PullFailure.BAD_NAME, r"invalid reference format|invalid tag format|invalid repository name|name invalid"),
    (PullFailure.LOGIN, r"no basic auth credentials|incorrect username or password|invalid username/password"),
    (PullFailure.LOGIN, r"token (?:has|is) expired|expired token|reauthenticate|bad credentials|credentials error"),
    (PullFailure.LOGIN, r"failed to fetch oauth token.* 40[013]|login attempt to .* failed with status: 40[013]"),
    (PullFailure.NO_ACCESS, r"pull access denied|insufficient_scope|access to the resource is denied"),
    (PullFailure.NO_ACCESS, rf"{_CODE}(?:denied|unauthorized)\b|authentication (?:is )?required|\b401 unauthorized"),
    (PullFailure.NO_ACCESS, rf"{_CODE}unknown: (?:forbidden|unauthorized|access denied|.*does not have permission)"),
    (PullFailure.NO_ACCESS, r"failed to fetch anonymous token.* 40[013]|access forbidden"),
    (PullFailure.NO_IMAGE, rf"{_CODE}(?:manifest unknown|name unknown)\b|repository name not known|image not known"),
    (PullFailure.NO_IMAGE, r"manifest for [^ ]+ not found|repository [^ ]+ not found|is not found"),
    (PullFailure.NO_IMAGE, rf"\bartifact [^ ]+ not found|resource not found: |{_CODE}unknown: (?:[^:]+ )?not found"),
    (PullFailure.NO_IMAGE, r"resolve reference .*: not found$|^(?!sha256)[^ ]+: not found$"),
    (PullFailure.PRUNED, r"not found|does not exist|no such image"),
)

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_URL = re.compile(r"https?://[^\s\"]*?(?=:?(?:\s|\"|$))")
_NAME = re.compile(
    r"(?<!\S)(?!\S*username/password)[^\s/]\S*/\S*?(?=[:,;]?(?:\s|$))"
    r"|(?<=^no such image: )\S+|^(?!sha256)\S+(?=: not found$)"
)
"""Words with a slash in them, and others that can only be an image's name."""
_NAMED = re.compile(
    r"\b(manifest for|denied for|reading manifest|repository|artifact|repo|tag) [^\s,]+(?=,| not found| in )"
    r"|(with (?:name|id)) '[^']*'"
)
"""Names of images and of their parts by the words before them."""
_RETRY_AFTER = re.compile(r"retry[- ]after:? *(\d+(?:\.\d+)?) ?(ns|us|µs|μs|ms|s|m|h)?\b", re.IGNORECASE)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def classify(message: str) -> PullFailure:
    """The failure that an engine describes with `message`. What nobody knows is `REGISTRY_AWAY`: it may pass.

    Addresses, names of images, and what stands in quotes mean nothing: a tag may be `429`, and a page may say anything.
    """
    status = re.search(r"error parsing HTTP (\d+) response body", message)
    if status:  # what follows is a page
        return {"407": PullFailure.PROXY, "429": PullFailure.RATE_LIMIT}.get(status[1], PullFailure.REGISTRY_AWAY)
    text = _URL.sub("URL", _QUOTED.sub('""', message)).strip().lower()
    text = _NAMED.sub(r"\1\2 NAME", _NAME.sub("NAME", text))
    return next((failure for failure, pattern in _PATTERNS if re.search(pattern, text)), PullFailure.REGISTRY_AWAY)


def retry_after_s(message: str) -> float | None:
    """How many seconds the registry asks to wait, where the engine passes that on (ghcr.io says it in its text)."""
    found = _RETRY_AFTER.search(message)
    return float(found[1]) * _SECONDS[(found[2] or "s").lower()] if found else None


TO_USER = {
    PullFailure.NO_IMAGE: "it is not found at the registry {registry}. Check its name and its tag.",
    PullFailure.NO_ACCESS: (
        "the registry {registry} refuses access: the image does not exist, or it is private. Check its name, or make it"
        " public. The owner of this worker has to log in at {registry} before a job can use a private image."
    ),
    PullFailure.NOT_AN_IMAGE: "what the registry {registry} has by this name is no image that Docker can run.",
    PullFailure.OTHER_PLATFORM: "it has no variant for the operating system and the CPU of this worker.",
    PullFailure.BAD_NAME: "this is not the name of an image (invalid reference format).",
    PullFailure.NO_HOST: "the registry {registry} does not exist (no such host). Check the image's name.",
    PullFailure.BROKEN_CONTENT: "its content at the registry {registry} is damaged. Push it again.",
    PullFailure.RATE_LIMIT: "the registry {registry} limits how many images this machine may pull now.",
    PullFailure.EXPIRED: "the storage of the registry {registry} refuses to hand it out now.",
    PullFailure.REGISTRY_AWAY: "the registry {registry} does not answer properly now.",
    PullFailure.PRUNED: "something on this machine removes images while they are pulled.",
    PullFailure.LOGIN: "the owner of this worker has to log in at the registry {registry} again.",
    PullFailure.CERTIFICATE: "the owner of this worker has to set up the certificate of the registry {registry}.",
    PullFailure.PLAIN_HTTP: "the registry {registry} has no TLS. The owner of this worker has to allow that first.",
    PullFailure.DNS: "this machine cannot resolve host names now. The owner of this worker has to look after it.",
    PullFailure.PROXY: "the owner of this worker has to correct the Docker engine's proxy.",
    PullFailure.DISK: "the disk of this worker's Docker engine is full. The owner of this worker has to make room.",
}
"""For the job's user; completes "The image 'x' cannot be pulled: "."""

TO_OWNER = {
    PullFailure.NO_ACCESS: "the registry refuses access. If the image exists, log in on this machine with"
    " `docker login {registry}`.",
    PullFailure.RATE_LIMIT: "the registry limits pulls. Log in on this machine with `docker login {registry}`.",
    PullFailure.PRUNED: "something removes its layers. Stop the `docker image prune` that runs again and again.",
    PullFailure.LOGIN: "the registry wants a login that it accepts. Log in on this machine with `docker login"
    " {registry}`.",
    PullFailure.CERTIFICATE: "the engine does not trust the registry's certificate. Put the certificate of its CA into"
    " /etc/docker/certs.d/{registry}/ca.crt, and check this machine's clock.",
    PullFailure.PLAIN_HTTP: "the registry has no TLS. If you trust this network, add {registry} to"
    " `insecure-registries` in /etc/docker/daemon.json and restart Docker.",
    PullFailure.DNS: "this machine does not resolve the host names of registries. Correct its DNS servers"
    " (/etc/resolv.conf).",
    PullFailure.PROXY: "the engine cannot use its proxy. Correct HTTPS_PROXY of the Docker service.",
    PullFailure.DISK: "the engine's disk is full or read-only. Make room on it, or raise MIN_FREE_GIB.",
}
"""For the machine's owner, where he can do something; completes "The worker cannot pull `x`: "."""


def for_user(failure: PullFailure, image: str, registry: str) -> str:
    """The sentence that a job's user reads."""
    return f"The image '{image}' cannot be pulled: {TO_USER[failure].format(registry=registry)}"


def for_owner(failure: PullFailure, image: str, registry: str) -> str | None:
    """The sentence for the log that says what the machine's owner can do; `None` where that is nothing."""
    cure = TO_OWNER.get(failure)
    return f"The worker cannot pull `{image}`: {cure.format(registry=registry)}" if cure else None
