"""Deliveries, attempts and outcomes.  No broker and no store: only values and decisions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from router.cluster.facts.views import Known
from router.model.events import OWN, Event

from .folds import Fold

FOLDED = "folded"
"""The `replay` of the delivery that stands for folded events, and the outcome word of the deliveries folded into it."""

HANDED_OVER = ">"
"""How `replay` begins after another subscription dead-lettered the delivery; the name of that subscription follows."""

UNHEARD = (
    *("silenced", "suppressed", "recovered", "repeated", "limited"),
    *("unanswered", "busy", "beyond", "stopped", "guarded"),
)
"""The words of skipped deliveries that must not suppress the next of their kind: nobody received them.

Not among them are `refused`, which a person has seen, and `shadow`, which stands for a delivery.
"""

GONE = "gone"
"""The key of a result: the target that wants no more deliveries, and that it is this delivery which reports it."""

PORTIONS, LEFT, NOT_BEFORE = "portions", "left", "not_before"
"""The keys of a result: how many portions of the nodes are done, which nodes are left, and when they may follow."""

LONGEST_REASON = 2048
"""Most octets in a reason, which travels as a message header."""


def is_fold(replay: str) -> bool:
    """Return whether a delivery with this *replay* stands for folded events: the original, or a replay of it.

    >>> is_fold(FOLDED), is_fold("folded-01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"), is_fold("")
    (True, True, False)
    """
    return replay == FOLDED or replay.startswith(f"{FOLDED}-")


def is_replay(replay: str) -> bool:
    """Return whether a person had it delivered again: it is no event, no fold, and was not handed over.

    >>> is_replay("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"), is_replay(""), is_replay(FOLDED), is_replay(">other")
    (True, False, False, False)
    """
    return replay not in ("", FOLDED) and not replay.startswith(HANDED_OVER)


class Key(NamedTuple):
    """The identity of a delivery: messages with the same key are the same delivery, however often they arrive."""

    event_id: str
    subscription: str
    replay: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one subscription, before its *attempt*-th attempt.

    *body* is the event as it arrived. *replay* is the nonce of the replay, empty for the original event. *repeated*
    means that a consumer, the process *begun_by*, started this same attempt before, and ended without recording the
    outcome. *earlier* is the result of the previous attempt, empty if there was none. *folded* is set if the event
    stands for several. *paused_targets* lists the targets that the handler must skip because their circuit breakers
    are open. *known* holds the facts of the event's cluster, if the subscription reads facts, *parameters* the
    values of an action, *steps* those of its earlier steps. *portion* is set if the handler may act on these of its
    nodes only: the report then says that the others are left, for a call after *portion_wait*. *facts* are the
    values that the subscription asks for (`facts`), *meta* its own words.
    """

    event: Event
    subscription: str
    topic: str
    body: bytes
    attempt: int = 1
    replay: str = ""
    repeated: bool = False
    begun_by: str = ""
    earlier: Mapping[str, object] = field(default_factory=dict)
    folded: Fold | None = None
    paused_targets: frozenset[str] = frozenset()
    known: Known | None = None
    parameters: Mapping[str, object] | None = None
    steps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    portion: tuple[str, ...] | None = None
    portion_wait: timedelta = timedelta()
    facts: Mapping[str, object] | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def portions(self) -> int:
        """How many portions of its nodes this attempt has done before."""
        done = self.earlier.get(PORTIONS)
        return done if isinstance(done, int) else 0

    @property
    def fold(self) -> Fold:
        """Return the fold that the event stands for; a single event is a fold of one."""
        event = self.event
        values = {name: [value] for name, value in event.data.items() if value is not None}
        return self.folded or Fold(1, event.node, event.time, event.time, values)

    def as_dict(self) -> Mapping[str, Any]:
        """Return the names that templates use: attributes of the event, data, fold, meta, facts, parameters, steps."""
        more = {"facts": self.known.for_templates()} if self.known else {}
        more |= {} if self.parameters is None else {"parameters": self.parameters}
        more |= {"steps": self.steps} if self.steps else {}
        return self.event.as_dict() | {"fold": self.fold.as_dict(), "meta": self.meta} | more

    def to_json(self) -> bytes:
        """Return the event as JSON, with the facts that the subscription asks for as a value of its data."""
        octets = self.event.to_json()
        if self.facts is None:
            return octets
        event = json.loads(octets)
        event["data"]["facts"] = self.facts
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")

    @property
    def key(self) -> Key:
        """Return the identity of the delivery, the same for every attempt."""
        return Key(self.event.id, self.subscription, self.replay)

    @property
    def mark(self) -> str:
        """Return a word that is unique to this attempt; a command's child processes are found by it."""
        portion = f".{self.portions}" if self.portions else ""
        return f"{self.event.id}.{self.subscription}.{self.replay or '-'}.{self.attempt}{portion}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a handler returns.  *failure* is None if the handler succeeded.

    A failure is a word that a retry policy can name, such as `exit:64`; *reason* is text for people.  *after* is the
    shortest wait before the next attempt, if a service asked for one.  *blamed* lists the targets that failed: if their
    circuit breaker opens, later deliveries to them wait.

    *again* means that there is no outcome yet: call the handler again after this time, for the same attempt.
    """

    failure: str | None = None
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)
    after: timedelta = timedelta()
    blamed: Sequence[str] = ()
    again: timedelta | None = None


Call = Callable[[Delivery], Report | None]
"""A handler, which may raise anything.  None means: interrupted by the stop of the consumer, without an outcome."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler succeeded: never call it again for this delivery."""

    result: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempt the delivery again, *delay* from now."""

    delay: timedelta
    reason: str
    result: Mapping[str, object] = field(default_factory=dict)
    blamed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The delivery failed for good: keep it with its reason."""

    reason: str
    result: Mapping[str, object] = field(default_factory=dict)
    blamed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Deliberately not delivered, and recorded so: *word* says why, for example `silenced`."""

    word: str
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet attempted: the delivery waits in the broker for *delay* and returns as the same attempt."""

    delay: timedelta
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)


Outcome = Done | Retry | DeadLetter | Skipped | Waiting


def is_unheard(outcome: Outcome) -> bool:
    """Return whether nobody receives a delivery with this *outcome*, so that the next of its kind is wanted.

    >>> is_unheard(Skipped("busy")), is_unheard(Skipped("refused")), is_unheard(Done())
    (True, False, False)
    """
    return isinstance(outcome, DeadLetter) or (isinstance(outcome, Skipped) and outcome.word in UNHEARD)


def judge(attempt: int, recorded: Mapping[int, Outcome | None]) -> Outcome | None:
    """Return the outcome of the *attempt*-th attempt if *recorded* already decides it; None: call the handler.

    *recorded* maps each started attempt to its outcome, or to None while it runs.  If any attempt is done, every
    message of the delivery is done.  A message older than the latest started attempt is only acknowledged.  If the
    attempt has an outcome, that outcome is returned and applied once more.

    >>> judge(1, {}), judge(1, {1: None}), judge(2, {1: Done()})
    (None, None, Done(result={}, reason=''))
    >>> judge(1, {1: DeadLetter("exit code 1")})
    DeadLetter(reason='exit code 1', result={}, blamed=())
    >>> judge(1, {1: Retry(timedelta(seconds=1), "exit code 1"), 2: None})
    Done(result={}, reason='a later attempt has begun')
    """
    for outcome in recorded.values():
        if isinstance(outcome, Done | Skipped):
            return outcome
    if any(each > attempt for each in recorded):
        return Done(reason="a later attempt has begun")
    outcome = recorded.get(attempt)
    return None if isinstance(outcome, Waiting) else outcome


def bounded(text: str) -> str:
    r"""Return *text* cut to 2 KiB, without NUL and invalid Unicode, so that it fits a header and a table.

    >>> bounded("a\0b"), len(bounded("x" * 5000))
    ('a b', 2048)
    """
    octets = text[:LONGEST_REASON].replace("\0", " ").encode("utf-8", "replace")
    return octets[:LONGEST_REASON].decode("utf-8", "ignore")


DEEPEST = 5
"""Deliveries and alerts that may follow one another because of events about them: it ends a circle."""


def depth_of(event: Event) -> int:
    """Return how many deliveries led to *event*, each caused by the outcome of the one before."""
    depth = event.data.get("depth") if event.origin == OWN else 0
    return depth if isinstance(depth, int) else 0


def is_own(event: Event, subscription: str) -> bool:
    """Say whether *event* reports an outcome of *subscription* itself, which never receives those."""
    return event.category == "action" and event.origin == OWN and event.data.get("subscription") == subscription


def has_job(result: Mapping[str, object]) -> bool:
    """Return whether a delivery with this *result* so far waits for its job, and not for more of its nodes.

    >>> has_job({"job": "act-1"}), has_job({"job": "act-1", "left": "n[2-3]"}), has_job({})
    (True, False, False)
    """
    return "job" in result and LEFT not in result
