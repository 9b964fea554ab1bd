"""Check and split the addresses of webhooks.  An event can never change an address."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from router.redaction import SECRET_NAME
from router.references import is_reference, looks_like_one
from router.settings.field_types import in_any_case

from ...config import secrets
from ...errors import SecretError

_OPAQUE = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_PORTS = {"http": 80, "https": 443}

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"(?=[^:/?]{{1,254}}(?:[:/?]|$))(?:{_LABEL}\.)*(?![0-9]+\.?(?:[:/?]|$)){_LABEL}\.?"
_HOST = rf"(?:{_OCTET}(?:\.{_OCTET}){{3}}|{_NAME}|\[[0-9A-Fa-f:.]+\])"
"""A name whose last part is no number, an address of IPv4, or one of IPv6 in brackets."""

_PLACE = re.compile(rf"{_HOST}(?::[0-9]*)?")

ADDRESS = rf"""{in_any_case("https?")}://(?={_HOST}(?:[:/?]|$))(?![^/?]*@)(?!.*\{{[{{%])[!-"$-\[\]-~]+"""
"""The addresses that `url` accepts, as a regular expression for JSON Schemas, which does not look for secrets."""


def url(text: str) -> str:
    """Return *text*, a reference or an address without secrets; raises ValueError, which never repeats a secret."""
    if is_reference(text):
        return text
    if looks_like_one(text):
        raise ValueError("is not a valid reference: write file:/absolute/path or env:NAME")
    if "{{" in text or "{%" in text:
        raise ValueError("is a template: an event cannot choose the address")
    parts = split(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("contains a user or password: put the address into a file and write url: file:/path")
    named = next((name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SECRET_NAME.search(name)), "")
    if named:
        raise ValueError(f"contains a secret, {named}: put the address into a file and write url: file:/path")
    return text


def address(written: str) -> str:
    """Return the address *written*, or what the reference *written* stands for.

    Raises SecretError, and OSError where a reference cannot be read now.
    """
    found = secrets.read(written) if is_reference(written) else written
    try:
        split(found)
    except ValueError as error:
        raise SecretError(f"secret {written}: {error}") from None
    return found


def split(text: str) -> SplitResult:
    """Return the parts of *text*; raises ValueError, which does not repeat *text*, if the address is invalid."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not an address: write https://host/path") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ValueError("is not a web address: write https://host/path, or url: file:/path if it is secret")
    place = parts.netloc.rpartition("@")[2]
    if place.isascii() and not _PLACE.fullmatch(place):
        raise ValueError("has a host that cannot exist: write a name such as hooks.example.com, or an IP address")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("contains blanks or other invalid characters: encode them, as in %20")
    if parts.fragment:
        raise ValueError("has a fragment (#...), which is never sent: remove it")
    return parts


def target(text: str, *, is_secret: bool) -> str:
    """Return the target of the address *text*, which shows nothing of a secret one but its host.

    >>> target("https://hooks.example.com/x?site=1", is_secret=False)
    'post https://hooks.example.com/x?site=1'
    >>> target("https://hooks.example.com/T01/XyZ12345678901234567890", is_secret=True)
    'post hooks.example.com:443#87dd23'
    """
    if not is_secret:
        return f"post {text}"
    return f"post {host_and_port(text)}#{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def host_and_port(text: str) -> str:
    """Return the host and port of the address *text*, such as `hooks.example.com:443`.

    >>> host_and_port("https://hooks.example.com/x"), host_and_port("http://[::1]:8080/")
    ('hooks.example.com:443', '[::1]:8080')
    """
    parts = split(text)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORTS[parts.scheme]}"


def looks_secret(text: str) -> bool:
    """Return whether a part of the path of *text* looks like a token.

    >>> looks_secret("https://hooks.example.com/services/T01/XyZ12345678901234567890"), looks_secret("https://a.b/hook")
    (True, False)
    """
    return any(_OPAQUE.fullmatch(each) for each in urlsplit(text).path.split("/"))
