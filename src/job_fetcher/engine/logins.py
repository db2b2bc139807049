"""The owner's logins at registries: read anew from Docker's `config.json` before each pull, as `docker pull` does.

docker-py reads that file once, so that a login of 12 hours (ECR) ends a worker's day. A credential helper gets no time
limit from it, and a helper that fails ends the pull.
"""

import base64
import binascii
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELPER_S = 20.0
"""A credential helper has so long: one that asks a cloud takes some seconds, one that wants a passphrase for ever."""
DOCKER_HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
"""Other names of Docker Hub in the file; the first is what credential helpers know."""
_SECRETS = ("USERNAME", "PASSWORD", "ACCESS_TOKEN")
"""The worker's own settings, which are not for a helper."""


@dataclass(frozen=True)
class Login:
    """A registry's login. `auth` is the engine's `AuthConfig`, empty for an anonymous pull; `problem` says why.

    Source of the fields: Docker's API reference, "Authentication".
    """

    auth: Mapping[str, str]
    problem: str | None = None

    def __repr__(self) -> str:
        return f"Login({'with' if self.auth else 'without'} credentials, problem={self.problem!r})"


class _HelperFailed(Exception):
    """A credential helper gives no login; the message is a sentence."""


def config_file() -> Path:
    """Docker's `config.json` of the user that runs the worker."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")


def find(registry: str) -> Login:
    """The login for `registry` (a host, with its port; `docker.io` for Docker Hub) as it stands now.

    A helper that is missing, fails or is silent for `HELPER_S` costs the login, not the pull: see `Login.problem`.
    """
    try:
        config = _read()
    except (OSError, ValueError) as error:
        return Login({}, f"{config_file()} cannot be read ({error}). Correct it, or log in again")
    problem = None
    helper = _helper(config, registry)
    if helper is not None:
        try:
            found = _ask(helper, _HUB_KEYS[0] if registry == DOCKER_HUB else registry)
        except _HelperFailed as error:
            problem = str(error)
        else:
            if found:
                return Login(found)
    try:
        auth = _written(config, registry)
    except (ValueError, AttributeError) as error:
        return Login({}, f"{config_file()} has no valid login for {registry} ({error}). Log in again")
    return Login(auth, None if auth else problem)


def registries() -> list[str]:
    """The registries with a login of their own in the file; raises `OSError`, `ValueError` if it cannot be read."""
    config = _read()
    named = [*_object(config, "auths"), *_object(config, "credHelpers")]
    return sorted({DOCKER_HUB if key in _HUB_KEYS else _host(key) for key in named})


def _read() -> dict[str, Any]:
    try:
        config = json.loads(config_file().read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(config, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the file, not of an argument
    return config


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is no JSON object")  # noqa: TRY004
    return value


def _helper(config: Mapping[str, Any], registry: str) -> str | None:
    """The name of the helper that keeps the registry's login, without its `docker-credential-`."""
    with suppress(ValueError):
        for key, helper in _object(config, "credHelpers").items():
            if _is_key_of(key, registry):
                return str(helper)
    return str(config["credsStore"]) if config.get("credsStore") else None


def _written(config: Mapping[str, Any], registry: str) -> dict[str, str]:
    """The login in the file itself; raises `ValueError` if it is not understood."""
    for key, entry in _object(config, "auths").items():
        if not _is_key_of(key, registry):
            continue
        if entry.get("identitytoken"):
            return {"identitytoken": entry["identitytoken"], "serveraddress": key}
        if entry.get("registrytoken"):
            return {"registrytoken": entry["registrytoken"], "serveraddress": key}
        username, password = entry.get("username"), entry.get("password")
        if entry.get("auth"):
            try:
                username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError("its `auth` is not base64") from error
        if username and password:
            return {"username": username, "password": password.strip("\0"), "serveraddress": key}
    return {}


def _ask(helper: str, server: str) -> dict[str, str]:
    """The login that a credential helper has for `server`; empty if it has none. Raises `_HelperFailed`.

    The protocol: github.com/docker/docker-credential-helpers.
    """
    program = f"docker-credential-{helper}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the owner's own configuration names it
            [program, "get"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS},
            start_new_session=True,  # it has no terminal to ask for a passphrase on, and ends with its children
        )  # fmt: skip
    except OSError as error:
        raise _HelperFailed(f"{program} cannot be run ({error.strerror}). Install it where the worker runs") from error
    try:
        output, errors = process.communicate(server.encode(), timeout=HELPER_S)
    except subprocess.TimeoutExpired as error:
        raise _HelperFailed(
            f"{program} is silent for {HELPER_S:g} s. Unlock its key store, or log in without a helper"
        ) from error
    finally:
        _end(process)
    said = (output if not output.lstrip().startswith(b"{") else errors).decode(errors="replace").strip()[:200]
    if process.returncode != 0:
        if "credentials not found" in said:
            return {}
        raise _HelperFailed(f"{program} fails ({said or f'exit code {process.returncode}'}). Log in again")
    try:
        answer = json.loads(output)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise _HelperFailed(f"{program} answers no JSON with a login. Install it anew") from error
    if not secret:
        return {}
    token = {"identitytoken": secret} if username == "<token>" else {"username": username, "password": secret}
    return token | {"serveraddress": server}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a helper's session, a prompt for a passphrase among it, and let its pipes go."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _is_key_of(key: str, registry: str) -> bool:
    return key in _HUB_KEYS if registry == DOCKER_HUB and key in _HUB_KEYS else _host(key) == registry


def _host(key: str) -> str:
    """`https://ghcr.io/v1/` → `ghcr.io`: old entries are addresses."""
    return key.removeprefix("https://").removeprefix("http://").split("/", 1)[0]
