"""The registrations that are dangerous for GPFS, and why.  Pure.

They are refused until `gpfs.accept`, or the author of a Python callback, accepts them by name.
"""

from ....model.catalogue import EventType

SYNC = "sync"
ONERROR = "onerror"

_SYNC = (
    "GPFS waits for a synchronous callback: a slow disk under the spool would block the operation that the event "
    "reports, such as a mount or unmount"
)
_ONERROR = "a failing callback would stop GPFS on its node or make the node lose quorum, and capture must only observe"
_EVENTS = {
    "tiebreakerCheck": "its callback decides which node becomes cluster manager, and GPFS must be down on all nodes "
    "to add or remove it",
    "sendRequestToNodes": "GPFS uses it internally, to gather debug data after an expel",
    "mmProtocolTraceFileChange": "GPFS uses it internally, and it is not known what it expects of a callback",
    "traceConfigChanged": "GPFS uses it internally, and it is not known what it expects of a callback",
    "ccrFileChange": "it is internal and frequent: every configuration change causes an event",
    "ccrVarChange": "it is internal, and its values come from the configuration and may include secrets",
    "filesetLimitExceeded": "it reports the same crossing as softQuotaExceeded, so each crossing would come twice",
    "afmCmdRequeued": "it comes for every requeued command, again and again while the AFM home is unreachable",
}


def of_event(event: EventType) -> str | None:
    """Return why it is dangerous to register *event*, or None if it is safe.

    >>> from router.model.catalogue import load
    >>> of_event(load("gpfs").event("mount"))
    >>> of_event(load("gpfs").event("filesetLimitExceeded"))
    'it reports the same crossing as softQuotaExceeded, so each crossing would come twice'
    """
    if event.default:
        return None
    return _EVENTS.get(event.name, event.notes or "it is off by default")


def of_manner(*, sync: bool, onerror: str | None) -> dict[str, str]:
    """Return why a registration with these options is dangerous, by the word that accepts it; empty if it is safe.

    >>> list(of_manner(sync=True, onerror="continue"))
    ['sync']
    """
    found = {SYNC: _SYNC} if sync else {}
    return found | ({ONERROR: _ONERROR} if onerror not in (None, "continue") else {})
