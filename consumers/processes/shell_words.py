"""Words of a command that only a shell would understand: no shell reads our commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

_READ_ELSEWHERE = re.compile(r"(ba|da|[ackrsz]|fi|tc|pd|mmd|clu)?sh|busybox|su|eval")
"""Programs that pass their words to a shell, here or on another machine."""

_WITH_OPERATORS = frozenset({"find", "expr", "test", "[", "awk", "gawk", "mawk", "jq"})
_OPERATOR = re.compile(r"[0-9&]?(>>?|<<?)(&[0-9-])?|\|[|&]?|&&?|;|[0-9&]?>>?[/.&]\S*")
_EXPANSION = re.compile(r"\$(CLUSTERBUS_\w+|\{CLUSTERBUS_\w+\})|^\$([A-Z_][A-Z0-9_]*|\{[A-Z_][A-Z0-9_]*\})$|\$\([^)]")
_VARIABLE = re.compile(r"\$\{?CLUSTERBUS_VAR_(\w+?)\}?$")


def problems(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the index of each word of *command* that the program gets as it is written, and what is wrong with it.

    >>> [*problems(["/bin/echo", "$HOME", ">>", "log"])][1]
    (2, "no shell reads this: the program gets '>>' as it is written; write a script, and name it as the program")
    >>> [*problems(["/bin/sh", "-c", "echo $HOME >> log"])]
    []
    """
    names = [PurePath(word).name for word in command]
    if any(_READ_ELSEWHERE.fullmatch(name) for name in names):
        return
    takes_operators = any(name in _WITH_OPERATORS for name in names)
    for at, word in enumerate(command[1:], start=1):
        if not takes_operators and _OPERATOR.fullmatch(word):
            yield at, _message(word, "write a script, and name it as the program")
        elif found := _EXPANSION.search(word):
            variable = _VARIABLE.fullmatch(found[0])
            instead = f"write {{{{ data.{variable[1]} }}}}" if variable else "write the value, or name a script"
            yield at, _message(found[0], instead)


def _message(word: str, instead: str) -> str:
    return f"no shell reads this: the program gets {word!r} as it is written; {instead}"
