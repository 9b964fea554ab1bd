"""Deliveries, attempts and outcomes: what is owed, and what becomes of it.  No broker, no store: only decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from router.events import Event, Value
from router.facts import Known

from .errors import Rejected
from .retries import RetryPolicy

FOLDED = "folded"
"""The replay of a delivery that tells what was folded, and the word of those that were folded into it."""

HANDED_OVER = ">"
"""What the replay begins with of a delivery that another subscription has given up; its name follows."""

LONGEST_REASON = 2048
"""Octets of a reason at the most: it travels as a header."""


def is_fold(replay: str) -> bool:
    """Say whether the delivery of this *replay* tells what was folded: for the first time, or replayed.

    >>> is_fold(FOLDED), is_fold("folded-01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"), is_fold("")
    (True, True, False)
    """
    return replay == FOLDED or replay.startswith(f"{FOLDED}-")


class Key(NamedTuple):
    """What makes a delivery: two that agree in this are one, however often and by whatever way they arrive."""

    event_id: str
    subscription: str
    replay: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Events that are told as one: how many, from which nodes (folded, `n[001-400]`), the first and last time.

    *values* has, for each variable, its different values in the order that they came, the first few of many.
    """

    count: int
    nodes: str
    first: str
    last: str
    values: Mapping[str, Sequence[Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one subscription, about to be attempted for the *attempt*-th time.

    *body* is the event as it arrived.  *replay* is the nonce of the replay, empty for the event itself.  *repeated*
    says that this very attempt was begun before, by a consumer that did not live to record its end.  *earlier* is the
    result of the attempt before, empty where there was none.  *folded* is set where the event stands for several.
    *shunned* are those of its handler's targets that are to be left out, since their breakers are open.  *known* is
    what is known of the event's cluster, where its subscription asks for that.
    """

    event: Event
    subscription: str
    topic: str
    body: bytes
    attempt: int = 1
    replay: str = ""
    repeated: bool = False
    earlier: Mapping[str, object] = field(default_factory=dict)
    folded: Fold | None = None
    shunned: frozenset[str] = frozenset()
    known: Known | None = None

    @property
    def fold(self) -> Fold:
        """Return what it is told as: of an event that stands for itself, a fold of one."""
        event = self.event
        values = {name: [value] for name, value in event.data.items() if value is not None}
        return self.folded or Fold(1, event.node, event.time, event.time, values)

    def as_dict(self) -> Mapping[str, Any]:
        """Return what templates are filled in from: the event's attributes and `data`, `fold`, and `facts`."""
        facts = {"facts": self.known.for_templates()} if self.known else {}
        return self.event.as_dict() | {"fold": asdict(self.fold)} | facts

    @property
    def key(self) -> Key:
        """Return what the delivery is known by, whichever attempt it is."""
        return Key(self.event.id, self.subscription, self.replay)

    @property
    def mark(self) -> str:
        """Return a word that no other attempt has: what a command's children are found by."""
        return f"{self.event.id}.{self.subscription}.{self.replay or '-'}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a handler has to say when it is through: *failure* is None where all went well.

    A failure is a word that a retry policy can name, such as `exit:64`; *reason* is for people.  *after* is how long to
    wait at least before the next attempt, as a service may ask for.  *blamed* are those of the handler's targets whose
    fault it was: a breaker that opens over them keeps the deliveries that follow waiting.

    *again* says that there is no outcome yet: the handler is to be called again, then, for the same attempt.
    """

    failure: str | None = None
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)
    after: timedelta = timedelta()
    blamed: Sequence[str] = ()
    again: timedelta | None = None


Call = Callable[[Delivery], Report | None]
"""May raise anything.  None means: broken off because the consumer stops; there is no outcome, it is given back."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler has done what it is for: never call it again for this delivery."""

    result: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempt it again, *delay* from now."""

    delay: timedelta
    reason: str
    result: Mapping[str, object] = field(default_factory=dict)
    blamed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Given up: keep it with its reason."""

    reason: str
    result: Mapping[str, object] = field(default_factory=dict)
    blamed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Not done, on purpose, and recorded as that: *word* says by what, such as `silenced`."""

    word: str
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet: it waits in the broker for *delay*, and comes again as the same attempt."""

    delay: timedelta
    reason: str = ""
    result: Mapping[str, object] = field(default_factory=dict)


Outcome = Done | Retry | DeadLetter | Skipped | Waiting


def attempt(delivery: Delivery, handler: Call, policy: RetryPolicy) -> Outcome | None:
    """Call *handler* once and say what is to become of *delivery*; None where the handler was broken off."""
    try:
        report = handler(delivery)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a handler are its failure too
        return raised(delivery, error, policy)
    return None if report is None else decide(delivery.attempt, report, policy)


def raised(delivery: Delivery, error: BaseException, policy: RetryPolicy) -> Outcome:
    """Return the outcome of an attempt that ended with *error*: its class is the failure's word."""
    if isinstance(error, Rejected):
        return DeadLetter(bounded(str(error)), error.result)
    name = type(error).__name__
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - its text is somebody else's program
        said = "(has no text)"
    return decide(delivery.attempt, Report(name, f"{name}: {said}"), policy)


def decide(attempt: int, report: Report, policy: RetryPolicy) -> Outcome:
    """Return the outcome of the *attempt*-th attempt that ended with *report*.

    >>> from .retries import RetryPolicy
    >>> decide(1, Report(result={"exit": 0}), RetryPolicy())
    Done(result={'exit': 0}, reason='')
    >>> decide(1, Report("exit:1", "exit code 1"), RetryPolicy(attempts=1))
    DeadLetter(reason='exit code 1', result={}, blamed=())
    """
    if report.again is not None:
        return Waiting(report.again, bounded(report.reason), report.result)
    if report.failure is None:
        return Done(report.result)
    reason = bounded(report.reason or report.failure)
    delay = policy.delay_after(attempt, report.failure)
    if delay is None:
        return DeadLetter(reason, report.result, report.blamed)
    return Retry(max(delay, report.after), reason, report.result, report.blamed)


def judge(attempt: int, recorded: Mapping[int, Outcome | None]) -> Outcome | None:
    """Say what an arrival of the *attempt*-th attempt comes to by what is *recorded*; None: the handler is due.

    *recorded* maps each attempt that has begun to its outcome, None while that is open.  A delivery that is done is
    done in whatever copy it arrives; a copy older than what has begun since is only acknowledged; an attempt that
    has its outcome is acted on once more.

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
    r"""Return *text* cut to what a header and a table take: 2 KiB, no NUL, nothing that is not Unicode.

    >>> bounded("a\0b"), len(bounded("x" * 5000))
    ('a b', 2048)
    """
    octets = text[:LONGEST_REASON].replace("\0", " ").encode("utf-8", "replace")
    return octets[:LONGEST_REASON].decode("utf-8", "ignore")
