"""Parts of an address that apprise ignores without a word, such as a misspelt `to`, or one of several recipients."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from urllib.parse import unquote

from apprise.plugins import NotifyBase
from apprise.utils import parse

from router.errors import did_you_mean

_EVERYWHERE = frozenset(("user", "pass", "password"))
_FREE = ("+", "-", ":")
"""What the names begin with that the plugins pass on: headers and such."""

_NAME = re.compile(r"[a-z_]{1,20}")
_BETWEEN = re.compile(parse.STRING_DELIMITERS)
_OF_MAIL = ("to", "cc", "bcc", "from", "reply")
_PORT = re.compile(r"[^:]*://[^/?#]*:([0-9]+)(?:[/?#].*)?", re.DOTALL)
_LARGEST = 65535


def parameter_warnings(url: str, plugin: NotifyBase) -> Iterator[str]:
    """Yield what is wrong with the parameters and the port of *url*, which *plugin* reads; shows no value.

    >>> from apprise import Apprise
    >>> url = "mailto://mail.example.org:99999?too=a@example.org&from=x@example.org"
    >>> for each in parameter_warnings(url, Apprise.instantiate(url)):
    ...     print(each)
    apprise ignores the parameter too; did you mean to or rto?
    its port is larger than 65535
    """
    known = {*plugin.template_args, *_EVERYWHERE}
    for name, pair in _parameters(url):
        if name not in known and not name.startswith(_FREE):
            # What is no name may be a part of a secret.
            plain = bool(_NAME.fullmatch(name)) and "=" in pair
            what = f"the parameter {name}{did_you_mean(name, known)}" if plain else "a parameter that has no known name"
            yield f"apprise ignores {what}"
    if "port" in plugin.template_tokens and (port := _PORT.fullmatch(url)) and int(port[1][:9]) > _LARGEST:
        yield f"its port is larger than {_LARGEST}"


def left_out(url: str, plugin: NotifyBase) -> Iterator[str]:
    """Yield what *plugin* leaves out of the mail addresses in the parameters of *url*; shows no value.

    >>> from apprise import Apprise
    >>> url = "mailto://mail.example.org?from=x@example.org&to=a@example.org,notanaddress"
    >>> list(left_out(url, Apprise.instantiate(url)))
    ['what it does not read as a mail address in the parameter to']
    """
    if not any(hasattr(sys.modules[each.__module__], parse.parse_emails.__name__) for each in type(plugin).__mro__):
        return
    for name, pair in _parameters(url):
        value = unquote(pair.partition("=")[2])
        rest, used = parse.EMAIL_DETECTION_RE.subn(",", value) if name in _OF_MAIL else ("", 0)
        # Of what holds no address at all, apprise says so itself.
        if used and any(_BETWEEN.split(rest)):
            yield f"what it does not read as a mail address in the parameter {name}"
        if used > 1 and name == "from":
            yield "all mail addresses but the first in the parameter from"


def _parameters(url: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each parameter of *url*, as apprise reads it, and the parameter as it is written."""
    for pair in filter(None, re.split("[&;]", url.partition("?")[2])):
        yield unquote(pair.partition("=")[0]).strip().lower(), pair
