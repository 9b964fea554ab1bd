"""Each part that is checked answers for itself: what its check raises becomes a finding, and the others go on."""

import errno
from collections.abc import Callable, Iterable, Iterator

from router.errors import RouterError

from ...errors import ConsumerError
from .check_results import Finding


def answered(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Return what *check* finds, and where it raises an exception, what was found until then and the failure."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - whatever is broken here says nothing of the other parts
        yield failure(part, error)


def failure(part: str, error: Exception) -> Finding:
    """Return as a finding of *part* that its check ended with *error*.

    >>> failure("spool", PermissionError(13, "Permission denied", "/var/spool/clusterbus/new")).seen
    "not known: [Errno 13] Permission denied: '/var/spool/clusterbus/new'"
    """
    match error:
        case PermissionError():
            advice = "run this as root, or as the owner of the file"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            advice = "free space there"
        case OSError():
            advice = "see whether the path is right, and its file system answers: dmesg names disks that fail"
        case RouterError() | ConsumerError() | ValueError():
            advice = "clusterbus settings shows what is set; correct it, or what it leads to"
        case _:
            advice = "this is a fault of clusterbus: report it with this text"
    text = str(error) if isinstance(error, OSError | RouterError | ConsumerError) and str(error) else repr(error)
    return Finding(part, "error", f"not known: {text}", advice)
