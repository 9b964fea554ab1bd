"""The findings of `clusterbus doctor`: what was checked, its state, and what to do."""

from dataclasses import dataclass
from typing import Literal

from router import redaction
from router.terminal_text import counted

Verdict = Literal["ok", "warning", "error"]

PARTS = frozenset(
    {
        *("services", "spool", "relay", "subscriptions", "service-queues", "broker", "publishing", "router", "store"),
        *("callbacks", "nodes"),
    }
)
"""The parts that can be checked separately."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing: the *verdict*, what was *seen*, and *advice* what to do.

    *unreachable*: a broker, database or node could not be reached, so nothing else is known of it.  *others_answered*:
    only some nodes could not, so the site is known.
    """

    part: str
    verdict: Verdict
    seen: str
    advice: str = ""
    unreachable: bool = False
    others_answered: bool = False

    def __post_init__(self) -> None:
        """Hide secrets in *seen*, which often quotes brokers, databases and files."""
        object.__setattr__(self, "seen", redaction.redact(self.seen))


def waiting(count: int, noun: str) -> str:
    """Say that *count* of *noun* wait.

    >>> waiting(1, "event"), waiting(2, "delivery")
    ('1 event waits', '2 deliveries wait')
    """
    return f"{counted(count, noun)} {'waits' if count == 1 else 'wait'}"
