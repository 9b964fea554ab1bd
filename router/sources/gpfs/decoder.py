"""Decodes the arguments that GPFS passes to capture.  Pure.

If a variable does not apply, GPFS passes `UNDEFINED`, nothing, or the variable's own name as it was registered
(`%fsName`, `%eventNode.ip`): all three become null.
"""

import re
from collections.abc import Sequence

from ...model.catalogue import Catalogue
from ..arguments import Decoded
from ..arguments import decode as decode_arguments

UNDEFINED = "UNDEFINED"

_LITERAL = re.compile(r"%([A-Za-z][A-Za-z0-9_]*)(?:\.[A-Za-z]+)?\Z")


def decode(arguments: Sequence[str], catalogue: Catalogue) -> Decoded:
    """Return *arguments* as values of the variables in *catalogue*; never raises, and loses no argument.

    >>> from router.model.catalogue import load
    >>> decode(["--fsName", "gpfs1", "--blockUsage", "1048576", "--blockLimit", "UNDEFINED"], load("gpfs")).data
    {'fsName': 'gpfs1', 'blockUsage': 1048576, 'blockLimit': None}
    """
    return decode_arguments(arguments, catalogue, _does_not_apply)


def _does_not_apply(text: str, name: str, catalogue: Catalogue) -> bool:
    if not text or text == UNDEFINED:
        return True
    literal = _LITERAL.match(text) if text[0] == "%" else None
    # A real value may start with %; only the name of a variable means that GPFS did not replace it.
    return literal is not None and (literal[1] == name or catalogue.variable(literal[1]) is not None)
