"""What is wrong with the settings: a line for each, with its value (never a secret's) and what to write instead."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from job_fetcher.config.values import is_proxy

_QUOTED = re.compile(r"""^(["']).*\1$""", re.DOTALL)
_COMMENTED = re.compile(r"(^|\s)#")
_ALIKE = 0.85
"""`GPU_BUSY_MB` resembles `GPU_BUSY_MIB` this much; settings of other programs resemble ours less."""


def with_more_than_the_value(environment: Mapping[str, str], fields: set[str], secrets: set[str]) -> dict[str, str]:
    """What `docker run --env-file` takes literally: quotes around a value, a comment behind it, a secret's blanks.

    `fields` are the names of settings, in lower case as in `environment`. Values of `secrets` stay hidden.
    """
    problems = {}
    for name, value in environment.items():
        if name not in fields:
            continue
        if _QUOTED.match(value):
            what = "has quotes around its value"
        elif _COMMENTED.search(value):
            what = "has a comment behind its value"
        elif name in secrets and value != value.strip():
            what = "has a blank before or behind its value"
        else:
            continue
        or_else = f". If it is part of the secret, use {name.upper()}_FILE" if f"{name}_file" in fields else ""
        problems[name] = (
            f"{name.upper()}{_shown(name, value, secrets)} {what}:"
            f" `docker run --env-file` takes it as part of the value. Remove it{or_else}"
        )
    return problems


def of_names(names: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Names that are not settings, but resemble one: nobody would notice that their values have no effect."""
    alike = {name: get_close_matches(name, fields, n=1, cutoff=_ALIKE) for name in set(names).difference(fields)}
    return {
        name: f"{name.upper()} is not a setting: do you mean {meant[0].upper()}?"
        for name, meant in sorted(alike.items())
        if meant
    }


def of_proxies(proxies: Mapping[str, str]) -> dict[str, str]:
    """Proxies that do not work, by scheme (or `all`). Their addresses stay hidden: one may hold a password."""
    used = {scheme if scheme in proxies else "all" for scheme in ("https", "http")} & set(proxies)
    return {
        f"{scheme}_proxy": f"{scheme.upper()}_PROXY: write the address of an HTTP proxy, such as"
        " http://proxy.example.org:3128 (no SOCKS; in its password write %23 for #, %2F for /, %3F for ?, %40 for @)"
        for scheme in sorted(used)
        if not is_proxy(proxies[scheme])
    }


_EXPECTED = {
    "float_parsing": "write a number, such as 30",
    "int_parsing": "write a whole number, such as 1024",
    "bool_parsing": "write true or false",
    "finite_number": "write a number, such as 30",
    "greater_than": "write a number above {gt:g}",
    "greater_than_equal": "write a number of {ge:g} or more",
    "enum": "write {expected}",
    "less_than_equal": "write a number of {le:.15g} or less",
}
"""pydantic's kinds of errors, in words for the owner of a machine; all others have words of ours already."""


def of_validation(error: ValidationError, given: Mapping[str, str], secrets: set[str]) -> dict[str, str]:
    """One line for each setting that is wrong, by its name in lower case; `given` are the values."""
    problems = {}
    for each in error.errors():
        name = str(each["loc"][0])
        if each["type"] == "missing":
            problems[name] = f"{name.upper()} is not set"
        elif each["type"] == "not_set":
            problems["access_token"] = each["msg"]  # in the place of all three: it has no problem of its own then
        else:
            words = _EXPECTED.get(each["type"])
            expected = words.format(**each.get("ctx", {})) if words else each["msg"].removeprefix("Value error, ")
            problems[name] = f"{name.upper()}{_shown(name, given.get(name), secrets)}: {expected}"
    return problems


def _shown(name: str, value: str | None, secrets: set[str]) -> str:
    """` (is 'value')`, without the value of a secret, and without the account in a URL."""
    return "" if value is None or name in secrets else f" (is {re.sub('//.*@', '//…@', value)!r})"
