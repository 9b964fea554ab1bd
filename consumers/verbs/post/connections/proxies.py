"""Through which proxy an address is called.

By default that is what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, by the rules of requests, which is
what sends the messages of `notify`.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment

from router.references import REFERENCE, is_reference, looks_like_one
from router.settings.field_types import in_any_case, whole

from ....config import secrets
from ....errors import Rejected
from ..urls import ADDRESS, host_and_port, split

ENVIRONMENT: Literal["environment"] = "environment"
NONE = "none"
_WRITE = "use one that is called by http, such as http://proxy.example.com:3128"

SCHEMA = whole(rf"{ENVIRONMENT}|{NONE}|{REFERENCE}|(?={in_any_case('http')}://){ADDRESS}")


def proxy(text: str) -> str:
    """Return *text*, if it says which proxy to use; raises ValueError, which never repeats a password."""
    if text in (ENVIRONMENT, NONE) or is_reference(text):
        return text
    if looks_like_one(text):
        raise ValueError("is not a valid reference: write file:/absolute/path or env:NAME")
    parts = _parts(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("contains a user or password: put the address into a file and write proxy: file:/path")
    return text


def _parts(text: str) -> SplitResult:
    """Return the parts of the address *text* of a proxy; raises ValueError, which does not repeat it."""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme.startswith("socks"):
        raise ValueError(f"is a SOCKS proxy, which post does not support: {_WRITE}")
    if scheme == "https":
        raise ValueError(f"is called by https, which post does not support: {_WRITE}; calls to https stay encrypted")
    if scheme != "http":
        raise ValueError(f"is not the address of a proxy: {_WRITE}")
    try:
        return split(text)
    except ValueError:
        raise ValueError(f"is not the address of a proxy: {_WRITE}") from None


def proxy_for(setting: str, url: str) -> str:
    """Return the address of the proxy for *url*, with its password; an empty text for none.

    Raises Rejected where it cannot be used, SecretError where it cannot be read.
    """
    if setting == NONE:
        return ""
    if setting != ENVIRONMENT:
        return _usable(secrets.read(setting), setting) if is_reference(setting) else setting
    if not getproxies_environment():
        return ""
    from requests.utils import get_environ_proxies, select_proxy  # noqa: PLC0415 - only where there is a proxy

    found = select_proxy(url, get_environ_proxies(url))
    return _usable(found if "://" in found else f"http://{found}", "of the environment") if found else ""


def shown(address: str) -> str:
    """Return host and port of the proxy *address*.

    >>> shown("http://anna:s3cret@proxy.example.com:3128")
    'proxy.example.com:3128'
    """
    return host_and_port(address)


def login(address: str) -> tuple[bytes, bytes] | None:
    """Return user and password in *address*, None if there are none.

    >>> login("http://anna:s%40cret@proxy:3128")
    (b'anna', b's@cret')
    """
    parts = urlsplit(address)
    if parts.username is None:
        return None
    return unquote(parts.username).encode(), unquote(parts.password or "").encode()


def _usable(address: str, name: str) -> str:
    try:
        _parts(address)
    except ValueError as error:
        raise Rejected(f"the proxy {name} {error}") from None
    return address
