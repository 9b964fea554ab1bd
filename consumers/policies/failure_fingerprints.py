"""Fingerprints of failures: reasons that differ only in details have the same fingerprint.  Pure text functions.

Numbers, ids, paths, addresses and quoted texts differ between events, so they are removed.  The rest is hashed to a
fingerprint that is short enough to type.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from router.model import ids

_LONGEST = 500
"""Characters of a reason that are compared; the rest is usually output of the handler."""

_QUOTED = re.compile(r"\"[^\"\n]{0,400}\"|'[^'\n]{0,400}'|`[^`\n]{0,400}`")
_ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://\S+")
_PATH = re.compile(r"(?<![\w.])~?(?:/[\w.@%+=:,~-]+)+/?")
_ID = re.compile(rf"\b(?:{ids.PATTERN}|[0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}})\b")
_HEX = re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,}\b")
_NODES = re.compile(r"\b([A-Za-z][A-Za-z_-]*)(?:\d+|\[[\d,-]+\])")
_NUMBER = re.compile(r"\d+(?:[.:,]\d+)*")
_KEPT = re.compile(r"\b(?:exit code|signal|status|HTTP|errno|Errno)(?: |:|=)+\d{1,3}\b")
_BLANK = re.compile(r"\s+")


def normal(reason: str) -> str:
    """Return *reason* without the details that differ between events; exit, signal and status codes stay.

    >>> normal("exit code 3: mmchdisk: gpfs1 nsd17 at 12:31:07: cannot open '/dev/sdq'")
    'exit code 3: mmchdisk: gpfs# nsd# at #: cannot open ?'
    >>> normal("OSError: [Errno 28] No space left on device: /var/spool/x/01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")
    'OSError: [Errno 28] No space left on device: /#'
    """
    text = reason[:_LONGEST]
    text = _ADDRESS.sub("://#", _QUOTED.sub("?", text))
    text = _PATH.sub("/#", text)
    text = _HEX.sub("#", _ID.sub("#", text))
    kept = [*_KEPT.finditer(text)]
    parts, at = [], 0
    for each in kept:
        parts += [_numberless(text[at : each.start()]), each.group()]
        at = each.end()
    return _BLANK.sub(" ", "".join([*parts, _numberless(text[at:])])).strip()


def _numberless(text: str) -> str:
    return _NUMBER.sub("#", _NODES.sub(r"\1#", text))


@lru_cache(maxsize=10_000)
def fingerprint(reason: str) -> str:
    """Return the fingerprint of the failure in *reason*, or an empty text if *reason* is empty.

    >>> fingerprint("exit code 3: nsd17 is gone") == fingerprint("exit code 3: nsd4 is gone")
    True
    >>> fingerprint("exit code 3") == fingerprint("exit code 4"), len(fingerprint("timeout")), fingerprint("")
    (False, 8, '')
    """
    return hashlib.sha256(normal(reason).encode("utf-8", "replace")).hexdigest()[:8] if reason else ""
