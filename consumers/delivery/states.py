"""The states of a delivery in this consumer, each a value of its own type.

A state holds only what is true by then, and makes the next one:

    Arrived ──▶ Admitted ──▶ Running ──▶ Ended ──▶ Recorded

Where a gate asks what the handler would do, the delivery is *planning* before it runs.  The audit goes from admitted to
ended at once.  A delivery that a gate refuses goes from admitted to recorded, and one that
the store already has an outcome of from arrived to recorded.  No clock, no store, no broker: callers pass in what they
know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ..deliveries import LEFT, NOT_BEFORE, Delivery, Done, Key, Outcome, Waiting, has_job, is_fold, is_replay
from ..folds import Fold
from ..policies.places import Place
from .thread_pool import Ticket


@dataclass(frozen=True, slots=True)
class Arrived:
    """The broker has brought the delivery; the store has not been asked about it yet."""

    delivery: Delivery

    def admit(
        self, owner: str, earlier: Mapping[str, object], *, is_begun: bool, lane: str, has_waited: bool = False
    ) -> Admitted:
        """Admit the delivery, of which the store says this; the arguments are those of `Admitted`."""
        delivery = self.delivery
        if owner or earlier:
            delivery = replace(delivery, repeated=bool(owner), begun_by=owner, earlier=earlier)
        return Admitted(delivery, owner, is_begun, lane, has_waited=has_waited)

    def admit_as_new(self, lane: str) -> Admitted:
        """Admit the delivery without a look into the store."""
        return Admitted(self.delivery, None, lane=lane)

    def fail(self, outcome: Outcome, now: datetime) -> Ended:
        """Return it with the *outcome* of an attempt that failed before its handler was called."""
        return Ended(self.delivery, outcome, now, now, called=now, has_row=False)

    def repeat(self, outcome: Outcome, *, is_old: bool) -> Recorded:
        """Return the *outcome* that the store already has; *is_old* where it is that of another attempt."""
        return Recorded(self.delivery, outcome, is_repeated=True, is_old=is_old)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The delivery is to be attempted; gates may still refuse it.

    *owner* is the consumer that began this attempt before, empty where none did.  None means that nobody has looked,
    since the delivery comes for the first time, as nearly all do: whether that is so shows when its row is written.
    *is_begun* says that the handler was called for this very attempt before, so that no gate holds it up again,
    *has_waited* that a gate has made this attempt wait.  *lane* names the deliveries that it keeps an order with,
    *targets* what its handler depends on, *nodes* those on which it acts, *plan* what it would do, as JSON, or the
    outcome where saying that failed.  The last three are known once *is_planned*.  *places* are those that it takes
    when it begins.
    """

    delivery: Delivery
    owner: str | None
    is_begun: bool = False
    lane: str = ""
    targets: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    plan: str | Outcome = ""
    is_planned: bool = False
    has_waited: bool = False
    places: tuple[Place, ...] = ()

    @property
    def key(self) -> Key:
        """Return the key of the delivery."""
        return self.delivery.key

    @property
    def is_new(self) -> bool:
        """Whether it was never called: replays and repeated attempts have passed silences, folds and rates."""
        return not is_replay(self.delivery.replay) and self.delivery.attempt == 1 and not self.is_begun

    @property
    def comes_first(self) -> bool:
        """Whether it is new and nothing has had it wait so far, neither a gate nor the wait of a fold."""
        return self.is_new and not self.has_waited and not is_fold(self.delivery.replay)

    @property
    def is_under_way(self) -> bool:
        """Whether a job that it began goes on: it has not come back for more of its nodes."""
        return self.is_begun and has_job(self.delivery.earlier)

    @property
    def succeeded(self) -> str:
        """The nodes on which it has been done, folded."""
        found = self.delivery.earlier.get("nodes")
        return str(found.get("succeeded") or "") if isinstance(found, Mapping) else ""

    def wait(self, delay: timedelta, reason: str) -> Waiting:
        """Return the outcome that it waits; of one that has begun, it keeps what was done."""
        return Waiting(delay, reason, self.delivery.earlier if self.is_begun else {})

    def due(self) -> datetime | None:
        """Return when it may go on with the nodes that are left; None if nothing holds it up."""
        moment = self.delivery.earlier.get(NOT_BEFORE)
        return datetime.fromisoformat(moment) if isinstance(moment, str) and LEFT in self.delivery.earlier else None

    def with_portion(self, portion: tuple[str, ...], wait: timedelta) -> Admitted:
        """Return it as one that acts on *portion* of its nodes only, and on the others after *wait* at the earliest."""
        return replace(self, delivery=replace(self.delivery, portion=portion, portion_wait=wait))

    def with_fold(self, fold: Fold) -> Admitted:
        """Return it as the delivery that stands for all events of *fold*."""
        return replace(self, delivery=replace(self.delivery, folded=fold))

    def with_paused(self, paused: frozenset[str]) -> Admitted:
        """Return it with the targets that its handler must skip, since they are *paused*."""
        return replace(self, delivery=replace(self.delivery, paused_targets=paused)) if paused else self

    def with_plan_of(self, other: Admitted) -> Admitted:
        """Return it with what the handler said about *other*, the same delivery as it was seen before."""
        return replace(self, targets=other.targets, nodes=other.nodes, plan=other.plan, is_planned=other.is_planned)

    def with_places(self, places: Sequence[Place]) -> Admitted:
        """Return it as one that takes *places* too when it begins."""
        return replace(self, places=(*self.places, *places))

    def again(self) -> Arrived:
        """Return it as it was before the store was asked."""
        return Arrived(self.delivery)

    def refuse(self, outcome: Outcome) -> Recorded:
        """Return the *outcome* that a gate gave it; to be called when that is written."""
        return Recorded(self.delivery, outcome)

    def run(self, ticket: Ticket, called: datetime) -> Running:
        """Return it as handed to a thread at the moment *called*, which *ticket* can take back."""
        return Running(self, ticket, called)

    def log(self, now: datetime) -> Ended:
        """Return it as done *now*: it is only written to the store, with its outcome."""
        return Ended(self.delivery, Done(), now, now, called=now)


@dataclass(frozen=True, slots=True, eq=False)
class Planning:
    """A thread asks the handler what a call would do; *tickets* can take that back."""

    admitted: Admitted
    tickets: list[Ticket] = field(default_factory=list)

    @property
    def delivery(self) -> Delivery:
        """Return the delivery as it was admitted."""
        return self.admitted.delivery

    def fail(self, outcome: Outcome, now: datetime) -> Ended:
        """Return it with the *outcome* of an attempt that failed before its handler was called."""
        return Arrived(self.delivery).fail(outcome, now)


@dataclass(frozen=True, slots=True)
class Running:
    """The store has it as begun, and a thread calls its handler, or will."""

    admitted: Admitted
    ticket: Ticket
    called: datetime

    @property
    def delivery(self) -> Delivery:
        """Return the delivery as it was admitted."""
        return self.admitted.delivery

    def end(self, outcome: Outcome, started: datetime, ended: datetime) -> Ended:
        """Return it with the *outcome* of an attempt that took from *started* to *ended*."""
        return Ended(self.delivery, outcome, started, ended, self.called, self.admitted.targets)


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has an outcome, which is not written yet.

    *called* is when it was handed to a thread; it may have *started* later.  *has_row* is False where the store has not
    written that it began.
    """

    delivery: Delivery
    outcome: Outcome
    started: datetime
    ended: datetime
    called: datetime
    targets: tuple[str, ...] = ()
    has_row: bool = True

    def without(self, name: str) -> Ended:
        """Return it with a result that lacks *name*."""
        result = {key: value for key, value in self.outcome.result.items() if key != name}
        return replace(self, outcome=replace(self.outcome, result=result))

    def record(self) -> Recorded:
        """Return it as the store has it; to be called when it is written."""
        return Recorded(self.delivery, self.outcome)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The store has the outcome: now it is acted on.

    *is_repeated* says that the store had it before the delivery arrived, *is_old* that it is another attempt's.
    """

    delivery: Delivery
    outcome: Outcome
    is_repeated: bool = False
    is_old: bool = False
