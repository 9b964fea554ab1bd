"""Texts of events as people are shown them: bounded, with a mark where something was cut, and on one line."""

from __future__ import annotations

import re

# Control characters, and those that turn the direction of writing round or are not to be seen at all.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def shortened(text: str, limit: int) -> str:
    """Return *text* cut to *limit* characters, and a mark that says so.

    >>> shortened("a" * 100, 40)
    'aaaaaaaaaaaaaa [cut, 100 characters all]'
    """
    if len(text) <= limit:
        return text
    mark = f" [cut, {len(text)} characters all]"
    return (text[: max(0, limit - len(mark))] + mark)[:limit]


def one_line(text: str) -> str:
    r"""Return *text* with a blank for each character that is not to be seen, or begins another line.

    >>> one_line("a\r\nb\x1b[31m")
    'a  b [31m'
    """
    return _UNSEEN.sub(" ", text)
