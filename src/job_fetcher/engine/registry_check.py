"""What `check` says about registries: whether the engine reaches them, and whether they accept the owner's logins."""

from collections.abc import Iterable

from docker.errors import APIError

from job_fetcher.core.errors import JobFetcherError
from job_fetcher.engine import image_names, logins
from job_fetcher.engine.client import Client, said, translate_errors
from job_fetcher.engine.pull_failures import TO_OWNER, PullFailure, classify

REFUSALS = (PullFailure.NO_ACCESS, PullFailure.LOGIN)
"""What a registry answers to a login that it does not accept."""


class RegistryTrouble(JobFetcherError):
    """A registry cannot be used as the owner meant it; the message is a sentence for each."""


def check(client: Client, patterns: Iterable[str]) -> str:
    """Try the registries with a login, and those that `patterns` (ALLOWED_IMAGES) name. Raises `RegistryTrouble`."""
    try:
        with_login = logins.registries()
    except (OSError, ValueError) as error:
        raise RegistryTrouble(
            f"{logins.config_file()} cannot be read ({error}). Correct it, or log in again"
        ) from error
    named = [image_names.registry_of(pattern) for pattern in patterns]
    registries = sorted({*with_login, *filter(None, named)})
    troubles = list(filter(None, (_trouble(client, registry) for registry in registries)))
    if troubles:
        raise RegistryTrouble("; ".join(troubles))
    if not with_login:
        return "no login: only public images can be pulled"
    return f"{', '.join(with_login)} accepted"


def login_refusal(client: Client, registry: str, login: logins.Login) -> str | None:
    """What the engine says when it tries the login at its registry; `None` if the registry accepts it."""
    with translate_errors("try a login"):
        try:
            client.try_login({"serveraddress": registry, **login.auth})
        except APIError as error:
            return said(error)
    return None


def _trouble(client: Client, registry: str) -> str | None:
    login = logins.find(registry)
    if login.problem is not None:
        return f"The worker has no login for {registry}: {login.problem}"
    refusal = login_refusal(client, registry, login)
    if refusal is None:
        return None
    failure = classify(refusal)
    if failure in REFUSALS:
        if not login.auth:
            return None  # a registry that wants a login, and nobody has given one: its public images may be meant
        return f"{registry} refuses this machine's login. Log in again with `docker login {registry}`"
    cure = TO_OWNER.get(failure, "Look whether this machine reaches it.")
    return f"{client.product.at_start} cannot use the registry {registry} ({refusal}). {cure.format(registry=registry)}"
