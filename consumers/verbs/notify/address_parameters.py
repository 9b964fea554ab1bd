"""Parameters of an address that apprise ignores without a word, such as a misspelt `to`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from apprise.plugins import NotifyBase

from router.errors import did_you_mean

_EVERYWHERE = frozenset(("user", "pass", "password"))
_FREE = ("+", "-", ":")
"""What the names begin with that the plugins pass on: headers and such."""

_NAME = re.compile(r"[a-z_]{1,20}")
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
    for pair in filter(None, url.partition("?")[2].split("&")):
        name = unquote(pair.partition("=")[0]).strip().lower()
        if name not in known and not name.startswith(_FREE):
            # What is no name may be a part of a secret.
            plain = bool(_NAME.fullmatch(name)) and "=" in pair
            what = f"the parameter {name}{did_you_mean(name, known)}" if plain else "a parameter that has no known name"
            yield f"apprise ignores {what}"
    if "port" in plugin.template_tokens and (port := _PORT.fullmatch(url)) and int(port[1][:9]) > _LARGEST:
        yield f"its port is larger than {_LARGEST}"
