"""Addresses of webhooks: what may be written as one, and whom it names.  An event never has a part in it."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from router.references import is_reference, looks_like_one

_SECRET_NAME = re.compile(r"(?i)pass|token|secret|key|sig|auth|credential|code")
_OPAQUE = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_PORTS = {"http": 80, "https": 443}


def url(text: str) -> str:
    """Return *text*, a reference or an address without secrets; raises ValueError, which never repeats a secret."""
    if is_reference(text):
        return text
    if looks_like_one(text):
        raise ValueError(f"{text!r} is no reference: write file:/absolute/path or env:NAME")
    if "{{" in text or "{%" in text:
        raise ValueError("is a template: no event may choose who is called")
    parts = split(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password: put the address into a file and write url: file:/path")
    named = next((name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET_NAME.search(name)), "")
    if named:
        raise ValueError(f"holds a secret, {named}: put the address into a file and write url: file:/path")
    return text


def split(text: str) -> SplitResult:
    """Return the parts of *text*; raises ValueError where nothing can be called by it, without repeating it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no address: write https://host/path") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ValueError("is no address of a webhook: write https://host/path, or url: file:/path where it is secret")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("holds blanks or other characters than an address can: write them as %20")
    if parts.fragment:
        raise ValueError("has a fragment (#...), which is never sent")
    return parts


def party(text: str) -> str:
    """Return whom the address *text* names, as `hooks.example.com:443`.

    >>> party("https://hooks.example.com/x"), party("http://[::1]:8080/")
    ('hooks.example.com:443', '[::1]:8080')
    """
    parts = split(text)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORTS[parts.scheme]}"


def looks_secret(text: str) -> bool:
    """Say whether a part of the path of *text* looks like a token.

    >>> looks_secret("https://hooks.example.com/services/T01/XyZ12345678901234567890"), looks_secret("https://a.b/hook")
    (True, False)
    """
    return any(_OPAQUE.fullmatch(each) for each in urlsplit(text).path.split("/"))
