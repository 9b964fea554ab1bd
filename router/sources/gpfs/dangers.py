"""What is dangerous to register with GPFS, and why.  Pure.

All of it is refused until it is named in `gpfs.accept`, or by whoever registers a callback of their own.
"""

from ...catalogue import EventType

SYNC = "sync"
ONERROR = "onerror"

_SYNC = (
    "GPFS waits for a synchronous callback: a slow disk under the spool would hold up what the event is about, "
    "mounts and unmounts among it"
)
_ONERROR = (
    "a callback that fails would stop GPFS on its node, or have it give up its quorum: capture observes, it decides "
    "nothing"
)
_EVENTS = {
    "tiebreakerCheck": "whoever answers it decides who becomes cluster manager, and GPFS has to be down on all nodes "
    "before it can be added or taken away",
    "sendRequestToNodes": "GPFS calls it for itself, to gather debug data after an expel",
    "mmProtocolTraceFileChange": "GPFS calls it for itself, and what it expects of a callback is not known",
    "traceConfigChanged": "GPFS calls it for itself, and what it expects of a callback is not known",
    "ccrFileChange": "it is internal and frequent: each change of the configuration would be an event",
    "ccrVarChange": "it is internal, and its values are those of the configuration, secrets among them",
    "filesetLimitExceeded": "it tells of the same crossing as softQuotaExceeded, so each would be told twice",
    "afmCmdRequeued": "it comes for each queue that is put back, over and over while a home is away",
}


def of_event(event: EventType) -> str | None:
    """Return why it is dangerous to register *event*; None where it is not.

    >>> from router.catalogue import load
    >>> of_event(load("gpfs").event("mount"))
    >>> of_event(load("gpfs").event("filesetLimitExceeded"))
    'it tells of the same crossing as softQuotaExceeded, so each would be told twice'
    """
    if event.default:
        return None
    return _EVENTS.get(event.name, event.notes or "it is off by default")


def of_manner(*, sync: bool, onerror: str | None) -> dict[str, str]:
    """Return why a registration of this manner is dangerous, by the word that accepts it; empty where it is not.

    >>> list(of_manner(sync=True, onerror="continue"))
    ['sync']
    """
    found = {SYNC: _SYNC} if sync else {}
    return found | ({ONERROR: _ONERROR} if onerror not in (None, "continue") else {})
