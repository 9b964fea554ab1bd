"""Names of contacts: what is wrong with one that the settings do not define."""

from __future__ import annotations

from collections.abc import Collection

from router.errors import did_you_mean


def unknown_contact(name: str, contacts: Collection[str]) -> str:
    """Return what is wrong if *name* is none of *contacts*, otherwise an empty text.

    >>> unknown_contact("on-cal", ["on-call"])
    "no contact 'on-cal'; did you mean on-call?"
    """
    if name in contacts:
        return ""
    known = f"; known contacts are {', '.join(sorted(contacts))}" if contacts else ""
    hint = did_you_mean(name, contacts) or known or "; define it in the settings, consumers.contacts"
    return f"no contact {name!r}{hint}"
