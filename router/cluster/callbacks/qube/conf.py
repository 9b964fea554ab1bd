r"""`callbacks.conf`: our lines in a file that belongs to the site.  Pure; works on bytes to preserve other lines.

    # clusterbus begin: from here to the end written by `clusterbus callbacks`
    clusterbus_failed_job.py = failed-job-self
    # clusterbus end

Everything outside our two marks is kept byte for byte.  Comments are on separate lines, the only form that Qube knows.
"""

import re
from collections.abc import Sequence

from .errors import ConfDamaged
from .triggers import PREFIX, SUFFIX, Trigger

FILE = "callbacks.conf"
_BEGIN = b"# clusterbus begin: from here to the end written by `clusterbus callbacks`"
_JOINED = b"# clusterbus begin, after a line that had no end: from here to the end written by `clusterbus callbacks`"
_END = b"# clusterbus end"
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_OURS = re.compile(rb"[ \t]*(" + PREFIX.encode() + rb"[^ \t=]*" + re.escape(SUFFIX.encode()) + rb")[ \t]*=")


def merged(text: bytes, triggers: Sequence[Trigger]) -> bytes:
    r"""Return *text* with our lines for *triggers*, in their old place or at the end.

    Without triggers, our lines are removed.  Raises ConfDamaged.

    >>> from router.cluster.callbacks.qube.triggers import Trigger
    >>> failed = Trigger("failedJob", "failed-job-self", "clusterbus_failed_job.py")
    >>> print(merged(b"mail.qcb = done-job-self\n", [failed]).decode())
    mail.qcb = done-job-self
    # clusterbus begin: from here to the end written by `clusterbus callbacks`
    clusterbus_failed_job.py = failed-job-self
    # clusterbus end
    <BLANKLINE>
    """
    before, ours, after = _parts(text)
    if not triggers:
        # Also remove the line break that we added before our lines, unless other lines follow now.
        return (before[:-1] if _begin(ours) is _JOINED and not after else before) + after
    begin = _begin(ours)
    if not ours:
        begin = _BEGIN if before[-1:] in (b"", b"\n") else _JOINED
        before += b"" if begin is _BEGIN else b"\n"
    lines = [begin, *(f"{each.file} = {each.expression}".encode() for each in triggers), _END, b""]
    return before + b"\n".join(lines) + after


def mapped(text: bytes) -> dict[str, str]:
    """Return the trigger of each file in our lines of *text*.  Raises ConfDamaged."""
    lines = _parts(text)[1].decode("utf-8", "replace").split("\n")
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {file.strip(): trigger.strip() for file, _, trigger in pairs}


def _begin(ours: bytes) -> bytes:
    return _JOINED if ours.startswith(_JOINED) else _BEGIN


def _parts(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the text before our lines, our lines with their marks, and the text after them."""
    lines = _LINES.findall(text)
    marks = [line.rstrip(b"\r\n") for line in lines]
    begins = [number for number, mark in enumerate(marks) if mark in (_BEGIN, _JOINED)]
    ends = [number for number, mark in enumerate(marks) if mark == _END]
    if not begins and not ends:
        _check_others(lines, 1)
        return text, b"", b""
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        where = ", ".join(str(number + 1) for number in sorted(begins + ends))
        raise ConfDamaged(
            f"{FILE}: the marks around our lines are not one begin and one end (lines {where}): remove these marks"
        )
    first, last = begins[0], ends[0] + 1
    _check_others(lines[:first], 1)
    _check_others(lines[last:], last + 1)
    return b"".join(lines[:first]), b"".join(lines[first:last]), b"".join(lines[last:])


def _check_others(lines: Sequence[bytes], number: int) -> None:
    for at, line in enumerate(lines, number):
        found = _OURS.match(line)
        if found:
            name = found[1].decode("utf-8", "replace")
            raise ConfDamaged(f"{FILE}: line {at}, outside our marks, maps our file {name}: remove that line")
