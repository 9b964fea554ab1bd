"""What callbacks run on a node: `capture-gpfs`, with the node's interpreter and options written into it.  Pure."""

from collections.abc import Sequence
from datetime import timedelta

from .errors import NotUnderstood

DEADLINE = timedelta(seconds=5)
"""How long capture takes at the most, also where the disk hangs."""

_NONE = "\nOPTIONS = []"
_LONGEST = 120
"""Octets of a script's first line: older kernels take no more than 127."""


def written(script: str, python: str, options: Sequence[str]) -> str:
    r"""Return the text of capture_gpfs.py, *script*, for one node: run by *python*, with *options* of capture.

    >>> print(written("#!/usr/bin/python3 -IS\n\nOPTIONS = []", "/opt/python3", ["--node", "nsd01"]))
    #!/opt/python3 -IS
    <BLANKLINE>
    OPTIONS = ['--node', 'nsd01']
    """
    line = f"#!{python} -IS"
    if not python.startswith("/") or len(line.encode()) > _LONGEST or python.split() != [python]:
        raise NotUnderstood(f"{python!r} cannot run a script: it has to be a whole path, short, and without blanks")
    first, rest = script.split("\n", 1)
    given = rest.replace(_NONE, f"\nOPTIONS = {[*options]!r}", 1)
    if not first.startswith("#!") or _NONE not in rest:
        raise NotUnderstood("capture_gpfs.py has no interpreter or no OPTIONS to fill in")
    return f"{line}\n{given}"
