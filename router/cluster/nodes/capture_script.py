"""The script that callbacks run on a node: `capture-gpfs`, with the node's interpreter and options filled in.  Pure."""

from collections.abc import Sequence
from datetime import timedelta

from ...settings.models import GpfsSettings
from ..gpfs.errors import NotUnderstood

COMMAND = str(GpfsSettings().command)
"""The default path of the script on a node."""

DEADLINE = timedelta(seconds=5)
"""The longest that capture takes, even if the disk hangs."""

_NONE = "\nOPTIONS = []"
_LONGEST = 120
"""The limit for a script's first line, in octets: older kernels accept at most 127."""


def written(script: str, python: str, options: Sequence[str]) -> str:
    r"""Return the text *script* of capture_gpfs.py for one node: run by *python*, with *options* of capture.

    Raises NotUnderstood if *python* or *script* cannot be used.

    >>> print(written("#!/usr/bin/python3 -IS\n\nOPTIONS = []", "/opt/python3", ["--node", "nsd01"]))
    #!/opt/python3 -IS
    <BLANKLINE>
    OPTIONS = ['--node', 'nsd01']
    """
    line = f"#!{python} -IS"
    if not python.startswith("/") or len(line.encode()) > _LONGEST or python.split() != [python]:
        raise NotUnderstood(f"nodes.python: {python!r} cannot run a script: set a short absolute path without blanks")
    first, rest = script.split("\n", 1)
    given = rest.replace(_NONE, f"\nOPTIONS = {[*options]!r}", 1)
    if not first.startswith("#!") or _NONE not in rest:
        raise NotUnderstood("capture_gpfs.py has no interpreter line or no OPTIONS to fill in: install it again")
    return f"{line}\n{given}"
