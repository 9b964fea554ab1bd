"""Each part that is checked answers for itself: what its check raises becomes a finding, and the others go on."""

import errno
from collections.abc import Callable, Iterable, Iterator

from router import database
from router.cluster.gpfs.errors import CommandMissing
from router.errors import NotUpgraded, RouterError, SettingsError, StateError, Unreachable, VersionError
from router.pipeline.state import State

from ...errors import ConsumerError, StoreError
from ...store.database import Store
from .check_results import Finding, Verdict
from .time_limit import NoAnswer

_OUT_OF_REACH = (Unreachable, StateError, StoreError, NoAnswer, CommandMissing)
"""What says that something could not be reached, for which other commands end with 3."""


def answered(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Return what *check* finds, and where it raises an exception, what was found until then and the failure."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - whatever is broken here says nothing of the other parts
        yield failure(part, error)


def failure(part: str, error: Exception, advice: str = "") -> Finding:
    """Return as a finding of *part* that its check ended with *error*; *advice* is what to do, if the caller knows.

    >>> failure("spool", PermissionError(13, "Permission denied", "/var/spool/clusterbus/new")).seen
    "not known: [Errno 13] Permission denied: '/var/spool/clusterbus/new'"
    """
    if isinstance(version := error.__cause__, VersionError):
        verdict: Verdict = "warning" if isinstance(version, NotUpgraded) else "error"
        return Finding(part, verdict, version.problem, version.way_out)
    is_ours = isinstance(error, OSError | RouterError | ConsumerError) and str(error)
    # A setting that is wrong is known to be.
    seen = f"{'' if isinstance(error, SettingsError) else 'not known: '}{error if is_ours else repr(error)}"
    return Finding(part, "error", seen, advice or _way_out(error), unreachable=isinstance(error, _OUT_OF_REACH))


def _way_out(error: Exception) -> str:
    match error:
        case PermissionError():
            return "run this as root, or as the owner of the file"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "free space there"
        case OSError():
            return "see whether the path is right, and its disk or server answers: dmesg names disks that fail"
        case StateError() | StoreError():
            setting = (State if isinstance(error, StateError) else Store).setting
            return database.advice(error.__cause__, setting)
        case RouterError() | ConsumerError() | ValueError():
            return "`clusterbus settings` shows what is set; correct it, or what it leads to"
        case _:
            return "this is a fault of clusterbus: report it with this text"
