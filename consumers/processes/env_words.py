"""What env starts: read from its words in the first line of a script, as env(1) of GNU coreutils reads them."""

from __future__ import annotations

import os
import re
import shlex
from collections import deque

_SHORT = re.compile(r"-([iv0]*)(?:([uCS])(.*))?", re.DOTALL)
_LONG = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?", re.DOTALL)
_NAMES = {
    "unset": "u",
    "chdir": "C",
    "split-string": "S",
    "ignore-environment": "i",
    **dict.fromkeys(("null", "debug", "help", "version", "list-signal-handling"), ""),
    **dict.fromkeys(("block-signal", "default-signal", "ignore-signal"), ""),
}
"""The long options, which may be cut to the part that is unique, each with its letter."""

_WITH_A_VALUE = "uCS"
_ONLY_ENV_KNOWS = re.compile(r"[\\$#\f\v]")
r"""Where env splits otherwise than a shell: `\_` is a blank, `\c` and `#` end the line, and `${NAME}` is a variable."""


class Unknown(ValueError):
    """A form that GNU env of today does not know; another env may."""


def program(argument: str, search: str) -> tuple[str, str] | None:
    """Return the program that env starts for *argument*, and the PATH in which it looks; None if only env can say.

    *argument* is the one word that the kernel passes, *search* the PATH that env gets.  The program is an empty text
    where *argument* names none.  Raises Unknown.
    """
    return _read(deque([argument] if argument else []), search)


def _read(left: deque[str], search: str) -> tuple[str, str] | None:
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.popleft()
        if word == "--":
            break
        letters, value = _option(word)
        if letters[-1:] in _WITH_A_VALUE and letters and not value:
            value = left.popleft() if left else ""
        if "i" in letters or (letters[-1:], value) == ("u", "PATH"):
            search = os.defpath
        if letters.endswith("S"):
            if _ONLY_ENV_KNOWS.search(value):
                return None
            left.extendleft(reversed(_split(value)))
    if left and left[0] == "-":
        left.popleft()
        search = os.defpath
    while left and "=" in left[0]:
        name, _, value = left.popleft().partition("=")
        search = value if name == "PATH" else search
    if left and os.path.basename(left[0]) == "env":  # noqa: PTH119 - a text
        left.popleft()
        return _read(left, search)
    return (left[0] if left else ""), search


def _option(word: str) -> tuple[str, str]:
    """Return the letters of the option *word*, of which only the last may have a value, and that value."""
    if short := _SHORT.fullmatch(word):
        flags, last, value = short.groups(default="")
        return flags + last, value
    long = _LONG.fullmatch(word)
    letters = [letter for name, letter in _NAMES.items() if long and name.startswith(long[1])]
    if not long or not letters:
        raise Unknown(f"has no option {word!r}")
    return letters[0], long[2] or ""


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Unknown(f"cannot split {text!r}: {str(error).lower()}") from None
