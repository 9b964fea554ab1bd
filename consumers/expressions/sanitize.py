"""Prepare texts of events for display: shorten them with a visible mark, and put them on one line."""

from __future__ import annotations

import re

# Control characters, and characters that are invisible or change the direction of writing.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def shortened(text: str, limit: int) -> str:
    """Return *text*, cut to *limit* characters with a mark at the end if it is longer.

    >>> shortened("a" * 100, 40)
    'aaaaaaaaaaaaaa [cut, 100 characters all]'
    """
    if len(text) <= limit:
        return text
    mark = f" [cut, {len(text)} characters all]"
    return (text[: max(0, limit - len(mark))] + mark)[:limit]


def one_line(text: str) -> str:
    r"""Return *text* with each invisible character and line break replaced by a blank.

    >>> one_line("a\r\nb\x1b[31m")
    'a  b [31m'
    """
    return _UNSEEN.sub(" ", text)
