"""What engines say when a pull fails, and whom it concerns: a table of their own words.

`20.10`: measured on Docker 20.10 with a registry that answers so; `containerd`: Docker 25 to 29 with the containerd
image store; `podman`: its socket. Registries: as reported by their users.
"""

import pytest

from job_fetcher.engine.pull_failures import Blame, PullFailure, classify, for_owner, for_user, retry_after_s

DIGEST = "sha256:9a539ef3e3734303f7d0424dccc560f2fd060f2803e08676c43d306a54f8bad1"
PAGE = r'invalid character \'<\' looking for beginning of value: "<html><head><title>404 Not Found</title></head>"'
HELM = "application/vnd.cncf.helm.config.v1+json"
TOKEN = "https://ghcr.io/token?scope=repository%3Ax%2Fy%3Apull&service=ghcr.io"

MESSAGES: dict[PullFailure, list[str]] = {
    PullFailure.NO_IMAGE: [
        "manifest for 127.0.0.1:5000/nothing:latest not found: manifest unknown: manifest unknown",  # 20.10
        "manifest unknown",  # 20.10
        "name unknown",  # 20.10
        "name unknown: The repository with name 'x' does not exist in the registry with id '123456789012'",  # ECR
        "name unknown: repository name not known to registry",  # docker-registry
        'manifest unknown: Failed to fetch "v9" from request "/v2/x/y/manifests/v9".',  # Artifact Registry
        'manifest unknown: manifest tagged by "v9" is not found',  # Azure
        'failed to resolve reference "docker.io/library/nope:1": docker.io/library/nope:1: not found',  # containerd
        "docker.io/library/nope:1: not found",  # containerd
        "error from registry: manifest unknown",  # Docker 29
        "unknown: artifact library/x:9 not found",  # Harbor
        "unknown: repository library/x not found",  # Harbor
        "unknown: resource not found: repo x, tag y not found",  # Harbor 1
        "unknown: Not Found",  # Artifactory
        "error from registry: unknown: artifact lab/x:9 not found",
        "initializing source docker://ghcr.io/x/y:9: reading manifest 9 in ghcr.io/x/y: manifest unknown",  # podman
        "initializing source docker://r/x:9: reading manifest 9 in r/x: name unknown: repository not found",  # podman
    ],
    PullFailure.NO_ACCESS: [
        "pull access denied for x/y, repository does not exist or may require 'docker login': denied: requested access"
        " to the resource is denied",  # Docker Hub
        "denied",  # 20.10
        "unauthorized",  # 20.10
        "unauthorized: authentication required",  # docker-registry with tokens
        "unauthorized: access to the requested resource is not authorized",  # quay.io
        "unauthorized: unauthorized to access repository: x/y, action: pull",  # Harbor
        'Head "https://ghcr.io/v2/x/y/manifests/1": denied',  # ghcr.io
        'Head "https://ghcr.io/v2/x/y/manifests/1": unauthorized',  # ghcr.io
        'Get "https://registry.gitlab.com/v2/x/y/manifests/1": denied: access forbidden',  # GitLab
        "error from registry: denied",  # Docker 29
        "unknown: Authentication is required",  # Artifactory
        "unknown: Forbidden",  # Artifactory
        "unknown: The client does not have permission for manifest",  # Artifactory
        "pull access denied, repository does not exist or may require authorization: server message:"
        " insufficient_scope: authorization failed",  # containerd
        f'failed to resolve reference "ghcr.io/x/y:1": failed to authorize: failed to fetch anonymous token: unexpected'
        f" status from GET request to {TOKEN}: 403 Forbidden",  # containerd
        "initializing source docker://x/y:1: reading manifest 1 in docker.io/x/y: requested access to the resource is"
        " denied",  # podman
        "Error initializing source docker://x/y:1: Error reading manifest 1 in docker.io/x/y: errors:\ndenied:"
        " requested access to the resource is denied\nunauthorized: authentication required",  # podman 3
    ],
    PullFailure.NOT_AN_IMAGE: [
        f"unsupported media type {HELM}",  # 20.10
        f'Encountered remote "{HELM}"(unknown) when fetching',  # Docker 20 to 24
        "missing signature key",  # 20.10, an image of schema 1
        "mediaType in manifest should be 'application/vnd.docker.distribution.manifest.v2+json' not ''",  # Docker 23
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed.",  # Docker 28
        "unsupported: The operation is unsupported.",
        "manifest invalid: manifest invalid",
        "failed to unpack image: mediatype unsupported: encountered unknown type application/x; children may not be"
        " fetched",  # containerd
        f'copying system image from manifest list: unsupported MIME type for compression: "{HELM}": unsupported media'
        " type",  # podman
        "unsupported schema version 1",
    ],
    PullFailure.OTHER_PLATFORM: [
        "no matching manifest for linux/amd64 in the manifest list entries",  # 20.10
        "no matching manifest for linux/arm64/v8 in the manifest list entries: no match for platform in manifest:"
        " not found",  # Docker 27
        f"no match for platform in manifest {DIGEST}: not found",  # containerd
        "image with reference x was found but does not provide the specified platform (linux/amd64)",  # Docker 28
        'image operating system "windows" cannot be used on this platform',  # 20.10
        "choosing an image from manifest list docker://x/y:1: no image found in image index for architecture"
        ' "amd64", variant "", OS "linux"',  # podman
    ],
    PullFailure.BAD_NAME: ["invalid reference format", "invalid tag format", "name invalid: invalid repository name"],
    PullFailure.NO_HOST: [
        'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid on 10.2.5.53:53: no such host',  # 20.10
        "dial tcp: lookup registry.invalid: no such host",
        'failed to resolve reference "r.invalid/x:1": failed to do request: Head "https://r.invalid/v2/x/manifests/1":'
        " dial tcp: lookup r.invalid on 127.0.0.53:53: no such host",  # containerd
        "pinging container registry r.invalid: Get: dial tcp: lookup r.invalid: no such host",  # podman
    ],
    PullFailure.BROKEN_CONTENT: [
        f"manifest verification failed for digest {DIGEST}",  # 20.10
        f"filesystem layer verification failed for digest {DIGEST}",  # 20.10
        "unknown blob",  # 20.10
        f'failed commit on ref "layer-{DIGEST}": unexpected commit digest {DIGEST}, expected {DIGEST}: failed'
        " precondition",  # containerd
        f'failed commit on ref "layer-{DIGEST}": "layer-{DIGEST}" failed size validation: 1 != 2: failed'
        " precondition",  # containerd
        f"failed to copy: httpReadSeeker: failed open: could not fetch content descriptor {DIGEST}"
        " (application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found",  # containerd
        f"writing blob: Digest did not match, expected {DIGEST}, got {DIGEST}",  # podman
    ],
    PullFailure.RATE_LIMIT: [
        "toomanyrequests: You have reached your pull rate limit.",  # 20.10, Docker Hub
        "toomanyrequests: retry-after: 985.86µs, allowed: 44000/minute",  # ghcr.io
        "toomanyrequests: Data limit exceeded",  # ECR Public
        "toomanyrequests: Rate exceeded",  # ECR Public
        "error parsing HTTP 429 response body: invalid character 's' looking for beginning of value: \"slow\"",  # 20.10
        'failed to resolve reference "docker.io/library/x:1": unexpected status from HEAD request to'
        " https://registry-1.docker.io/v2/library/x/manifests/1: 429 Too Many Requests",  # containerd
        "failed to authorize: failed to fetch oauth token: unexpected status: 429 Too Many Requests",  # containerd
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/x"
        f"/manifests/{DIGEST}: 429 Too Many Requests - Server message: toomanyrequests: You have reached your"
        " unauthenticated pull rate limit.",  # containerd
        "reading manifest 1 in docker.io/x/y: toomanyrequests: You have reached your pull rate limit.",  # podman
    ],
    PullFailure.EXPIRED: [
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://s3.amazonaws.com/x?X-Amz-Date=1:"
        " 403 Forbidden",  # containerd
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://r/v2/x: 400 Bad Request",
        "Error writing blob: Error fetching blob: invalid status code from registry 403 (Forbidden)",  # podman
    ],
    PullFailure.REGISTRY_AWAY: [
        f"error parsing HTTP 404 response body: {PAGE}",  # 20.10
        f"error parsing HTTP 403 response body: {PAGE}",  # 20.10
        "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: \"<?xml version="
        '\\"1.0\\"?>\\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"',  # 20.10, S3
        "error parsing HTTP 403 response body: invalid character '<': \"<html>x509: denied: no such host</html>\"",
        'error parsing HTTP 416 response body: unexpected end of JSON input: ""',  # 20.10
        "error unmarshalling content: invalid character '<' looking for beginning of value",  # 20.10
        "received unexpected HTTP status: 502 Bad Gateway",  # 20.10
        "login attempt to http://127.0.0.1:5000/v2/ failed with status: 404 Not Found",  # 20.10
        "expected HTTP 206 from byte range request",  # 20.10, a cut layer
        'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',  # 20.10
        'Get "https://r/v2/": net/http: TLS handshake timeout',
        'Get "https://r/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while'
        " awaiting headers)",
        'Get "https://r/v2/": context deadline exceeded',
        'Get "https://denied/v2/unauthorized/x509/manifests/1": EOF',
        "unexpected EOF",
        "read tcp 10.0.0.2:443: connection reset by peer",
        f'failed to resolve reference "r/x:1": failed to authorize: failed to fetch anonymous token: Get'
        f' "{TOKEN}": EOF',
        'failed to resolve reference "r/x:1": unexpected status from HEAD request to https://r/v2/x/manifests/1: 503'
        " Service Unavailable",  # containerd
        'failed to resolve reference "r/x:1": unexpected status from HEAD request to https://r/v2/x/manifests/1: 403'
        " Forbidden",  # containerd tells no page from a registry's own word
        "short read: expected 300000 bytes but got 1000: unexpected EOF",  # containerd
        "initializing source docker://r/x:1: pinging container registry r: received unexpected HTTP status: 502 Bad"
        " Gateway",  # podman
        "words that nobody knows",
    ],
    PullFailure.PRUNED: [
        f"failed to register layer: open /var/lib/docker/image/overlay2/layerdb/{DIGEST}: layer does not exist",
        f"failed to extract layer {DIGEST}: content digest {DIGEST}: not found",  # containerd
        f'failed to prepare extraction snapshot "extract-1": parent snapshot {DIGEST} does not exist: not found',
        'lease "1234": not found',  # containerd
        f"{DIGEST}: not found",
        "No such image: x:1",
    ],
    PullFailure.LOGIN: [
        'Head "http://r/v2/x/manifests/1": no basic auth credentials',  # 20.10
        "login attempt to http://127.0.0.1:5000/v2/ failed with status: 401 Unauthorized",  # 20.10
        "unauthorized: incorrect username or password",  # Docker Hub
        "denied: Your authorization token has expired. Reauthenticate and try again.",  # ECR
        'failed to resolve reference "r/x:1": failed to authorize: failed to fetch oauth token: unexpected status from'
        " POST request to https://auth/token: 401 Unauthorized",  # containerd
        "unable to retrieve auth token: invalid username/password: unauthorized: HTTP Basic: Access denied",  # podman
    ],
    PullFailure.CERTIFICATE: [
        'Get "https://r/v2/": x509: certificate signed by unknown authority',
        'Get "https://r/v2/": tls: failed to verify certificate: x509: certificate has expired or is not yet valid:'
        " current time 2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z",
        "pinging container registry r: x509: certificate is valid for a.example, not r",  # podman
        'Get "https://r/v2/": remote error: tls: bad certificate',
    ],
    PullFailure.PLAIN_HTTP: [
        'Get "https://r:5000/v2/": http: server gave HTTP response to HTTPS client',
        'Get "https://r:5000/v2/": tls: first record does not look like a TLS handshake',
    ],
    PullFailure.DNS: [
        'Get "https://r/v2/": dial tcp: lookup r on 10.0.0.1:53: server misbehaving',
        'Get "https://r/v2/": dial tcp: lookup r on 10.0.0.1:53: read udp 10.0.0.2:1->10.0.0.1:53: i/o timeout',
        'Get "https://r/v2/": dial tcp: lookup r on [::1]:53: read udp [::1]:1->[::1]:53: read: connection refused',
        "dial tcp: lookup r: Temporary failure in name resolution",
    ],
    PullFailure.PROXY: [
        'Get "https://r/v2/": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused',
        'Get "https://r/v2/": proxyconnect tcp: dial tcp: lookup proxy.lab on 10.0.0.1:53: no such host',
        'Get "https://r/v2/": Proxy Authentication Required',
    ],
    PullFailure.DISK: [
        "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
        "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
        "failed to extract layer: mkdir /var/lib/containerd/x: disk quota exceeded",
        "mkdir /var/lib/docker/tmp: read-only file system",
    ],
}
CASES = [(message, failure) for failure, messages in MESSAGES.items() for message in messages]


@pytest.mark.parametrize(("message", "failure"), CASES, ids=[message[:60] for message, _ in CASES])
def test_words_of_engines_are_told_apart(message: str, failure: PullFailure) -> None:
    assert classify(message) is failure


@pytest.mark.parametrize(
    "message",
    [
        "manifest for lab/x:407 not found",
        "manifest for python:407 not found: manifest unknown: manifest unknown",
        "docker.io/x:1.407: not found",
        "docker.io/lab/x:1.407: not found",
        "ghcr.io/lab/x:429: not found",
        "manifest for ghcr.io/lab/x:429 not found",
        "nvidia/driver:535 not found: manifest unknown",
        "manifest for nvidia/driver:535 not found: manifest unknown: manifest unknown",
        "reading manifest 535 in docker.io/nvidia/driver: manifest unknown",
        "reading manifest 429 in docker.io/lab/x: manifest unknown",
        "lab/schema1:x not found: manifest unknown",
        "docker.io/lab/schema1:x: not found",
        "manifest for schema1:x not found: manifest unknown: manifest unknown",
        "manifest for toomanyrequests:1 not found: manifest unknown: manifest unknown",
        "docker.io/lab/toomanyrequests:1: not found",
        "docker.io/lab/app:x509: not found",
        "docker.io/lab/proxyconnect:1: not found",
        "manifest for lab/insufficient_scope:1 not found: manifest unknown",
        "name unknown: The repository with name 'toomanyrequests' does not exist in the registry with id '407'",
        "unknown: artifact library/x:429 not found",
        "unknown: resource not found: repo x-407, tag 429 not found",
    ],
)
def test_numbers_and_words_in_names_of_images_mean_nothing(message: str) -> None:
    assert classify(message) is PullFailure.NO_IMAGE


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        (
            "pull access denied for toomanyrequests, repository does not exist or may require 'docker login'",
            "NO_ACCESS",
        ),
        ("pull access denied for lab/reauthenticate, repository does not exist", "NO_ACCESS"),
        ("No such image: toomanyrequests:429", "PRUNED"),
        ("unexpected status code 407", "PROXY"),
        ("received unexpected HTTP status: 407 Authentication Needed", "PROXY"),
        ("invalid status code from registry 429 (Slow down)", "RATE_LIMIT"),
        ("unexpected status from HEAD request to https://r/v2/x/manifests/1: 429", "RATE_LIMIT"),
        ("invalid status code from registry 503 (Service Unavailable)", "REGISTRY_AWAY"),
        ("unknown: 500 Internal Server Error: artifact not found", "REGISTRY_AWAY"),
    ],
)
def test_statuses_are_still_read_where_they_are_said(message: str, failure: str) -> None:
    assert classify(message) is PullFailure[failure]


def test_every_failure_has_words_and_a_sentence_for_the_user() -> None:
    assert set(MESSAGES) == set(PullFailure)
    for failure in PullFailure:
        sentence = for_user(failure, "r/x:1", "r")
        assert sentence.startswith("The image 'r/x:1' cannot be pulled: ")
        assert "docker login" not in sentence, "only the owner can do that"


@pytest.mark.parametrize("failure", [each for each in PullFailure if each.blame is Blame.MACHINE])
def test_owner_reads_what_he_can_do(failure: PullFailure) -> None:
    told = for_owner(failure, "ghcr.io/x/y:1", "ghcr.io")
    assert told is not None
    assert told.startswith("The worker cannot pull `ghcr.io/x/y:1`: ")


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("toomanyrequests: retry-after: 985.86µs, allowed: 44000/minute", 985.86e-6),
        ("toomanyrequests: retry-after: 1.5ms, allowed: 44000/minute", 1.5e-3),
        ("toomanyrequests: Retry-After: 30", 30),
        ("429 Too Many Requests: retry after 2m", 120),
        ("toomanyrequests: You have reached your pull rate limit.", None),
    ],
)
def test_time_that_a_registry_asks_for_is_read_where_the_engine_passes_it_on(
    message: str, seconds: float | None
) -> None:
    assert retry_after_s(message) == (None if seconds is None else pytest.approx(seconds))
