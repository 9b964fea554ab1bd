"""Which step comes next, decided from what has begun and ended.  No process, no file, no clock.

    before    the clean-up of an earlier attempt whose end is not known; its failures stop nothing
    steps     one after another, until one is not done
    always    the clean-up: all of its steps, whatever came before, unless it is certain that nothing has begun

An entry of the journal is a mapping:

    {"begun": PART, "name": STEP}
    {"ended": PART, "name": STEP, "result": RESULT}
    {"stopped": WHY}
    {"found": PROCESS}    another process goes on with the job of a dead one
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

Part = Literal["before", "steps", "always"]
PARTS: tuple[Part, ...] = ("before", "steps", "always")
Result = Mapping[str, Any]

CANCELLED, STOPPED, LOST, LATE = "cancelled", "stopped", "lost", "timeout"
"""Why steps are stopped from outside: a person, the end of the machine, a killed process, the deadline."""

MOST_FINDS = 10
"""How often a dead process is replaced: clean-up that ends each process that runs it must not run for ever."""

_STATES: Mapping[str, str] = {CANCELLED: "cancelled", STOPPED: "lost", LOST: "lost", LATE: "failed"}
_REASONS: Mapping[str, str] = {
    CANCELLED: "cancelled while it ran",
    STOPPED: "stopped by a signal to its process: a shutdown, or a manual kill",
    LOST: "its process was killed, so its end is not known",
    LATE: "not finished before the deadline of all steps",
}


class Turn(NamedTuple):
    """The step to run now."""

    part: Part
    name: str


@dataclass(frozen=True, slots=True)
class Order:
    """The names of the *steps* and of the clean-up *always*, in their order.

    *done* has the results of the steps that an earlier attempt has done, which are not repeated.  *cleans_first* says
    that an earlier attempt may have left something behind.
    """

    steps: Sequence[str]
    always: Sequence[str] = ()
    done: Mapping[str, Result] = field(default_factory=dict)
    cleans_first: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of steps in this *order*: the results of those that ended, and the one that is *open*.

    *stopped* says why they are stopped from outside; it is empty if they are not.
    """

    order: Order
    results: Mapping[Turn, Result] = field(default_factory=dict)
    open: Turn | None = None
    stopped: str = ""
    finds: int = 0

    @classmethod
    def of(cls, order: Order, entries: Iterable[Mapping[str, Any]]) -> Self:
        """Return the progress that the journal's *entries* tell.

        >>> order = Order(["snapshot", "work"], ["destroy"])
        >>> Progress.of(order, [{"begun": "steps", "name": "snapshot"}, {"found": "1"}]).next_turn()
        Turn(part='always', name='destroy')
        """
        results: dict[Turn, Result] = {}
        is_open, stopped, finds = None, "", 0
        for entry in entries:
            if part := entry.get("begun"):
                is_open = Turn(part, entry["name"])
            elif part := entry.get("ended"):
                results[Turn(part, entry["name"])] = entry["result"]
                is_open = None
            elif why := entry.get("stopped"):
                # A person's word counts more than what came before.
                stopped = why if why == CANCELLED else stopped or why
            elif "found" in entry:
                finds += 1
                if is_open and is_open.part == "steps":
                    results[is_open] = interrupted(LOST)
                # Clean-up whose end is not known is run again.
                is_open = None
                if not cls(order, results).is_complete:
                    stopped = stopped or LOST
        return cls(order, results, is_open, stopped, finds)

    def next_turn(self) -> Turn | None:
        """Return the step to run now, or None if all has ended."""
        if self.finds > MOST_FINDS:
            return None
        if not self._is_over and self._cleans_first and (turn := self._first("before", self.order.always)):
            return turn
        if not self._is_over and (turn := self._first("steps", self._to_do)):
            return turn
        return self._first("always", self.order.always) if self.must_clean else None

    @property
    def must_clean(self) -> bool:
        """Whether clean-up is due: a step has begun, or may have begun in an earlier attempt."""
        has_begun = any(each.part == "steps" for each in (*self.results, *([self.open] if self.open else ())))
        return self.order.cleans_first or has_begun

    @property
    def _to_do(self) -> list[str]:
        return [each for each in self.order.steps if each not in self.order.done]

    @property
    def _cleans_first(self) -> bool:
        # Where no step is left to run, the clean-up itself does it.
        return self.order.cleans_first and bool(self._to_do)

    @property
    def _is_over(self) -> bool:
        """Whether no further step is to begin."""
        return bool(self.stopped) or any(
            turn.part == "steps" and result["state"] != "done" for turn, result in self.results.items()
        )

    @property
    def is_complete(self) -> bool:
        """Whether all steps are done, so that only the clean-up is left."""
        return all(self.results.get(Turn("steps", each), {}).get("state") == "done" for each in self._to_do)

    def _first(self, part: Part, names: Sequence[str]) -> Turn | None:
        turns = (Turn(part, each) for each in names)
        return next((each for each in turns if each not in self.results), None)

    def listed(self) -> dict[str, list[Result]]:
        """Return the outcome of each step, by part; steps that did not run are *skipped*."""
        parts: dict[Part, Sequence[str]] = {"before": (), "steps": self.order.steps, "always": self.order.always}
        if self._cleans_first:
            parts["before"] = self.order.always
        return {part: [self._of(Turn(part, each)) for each in names] for part, names in parts.items() if names}

    def _of(self, turn: Turn) -> Result:
        skipped = self.order.done.get(turn.name, {"state": "skipped"}) if turn.part == "steps" else {"state": "skipped"}
        if self.open == turn:
            skipped = {"state": "running"}
        elif turn.part == "always" and self.must_clean and self.next_turn() is None:
            skipped = {"state": "lost", "reason": f"the process that ran it was killed {self.finds} times"}
        return {"name": turn.name, **self.results.get(turn, skipped)}

    def states(self) -> dict[str, dict[str, str]]:
        """Return the state of each step, by part, while they run; *due* are those that are still to come."""
        due = {part for part in PARTS if part == "always" or not self._is_over}
        return {
            part: {
                each["name"]: "due"
                if part in due and each["state"] == "skipped" and "reason" not in each
                else each["state"]
                for each in steps
            }
            for part, steps in self.listed().items()
        }

    @property
    def end(self) -> End:
        """How all of it ended, once there is no next turn."""
        listed = self.listed()
        bad = [each for each in listed["steps"] if each["state"] not in ("done", "skipped")]
        unclean = [each for each in listed.get("always", ()) if each["state"] not in ("done", "skipped")]
        failures = [
            *(("step", each) for each in bad),
            *(("clean-up step", each) for each in unclean),
        ]
        reasons = [f"{what} {each['name']}: {each.get('reason', each['state'])}" for what, each in failures]
        is_stopped = bool(self.stopped) and not self.is_complete
        if is_stopped and not bad:
            reasons.insert(0, f"{self.stopped} before a step had begun" if not self.results else self.stopped)
        first = failures[0][1] if failures else {}
        word = "" if not reasons else first.get("failure") or (self.stopped if is_stopped else "failed")
        return End(
            self.stopped if is_stopped else "finished",
            word if not is_stopped or self.stopped not in (STOPPED, LOST) else LOST,
            "; ".join(reasons),
            is_hopeless=not is_stopped and any(each.get("hopeless") for _, each in failures[:1]),
        )


class End(NamedTuple):
    """How steps ended: `finished`, or why they were *stopped*; the *failure* is empty if all went well.

    After one that is *hopeless*, another attempt would fail in the same way.
    """

    ended: str
    failure: str
    reason: str
    is_hopeless: bool = False


def interrupted(why: str, facts: Result | None = None) -> Result:
    """Return the result of a step that was broken off because of *why*, with the *facts* of its command.

    >>> interrupted(CANCELLED)["state"]
    'cancelled'
    """
    return {**(facts or {}), "state": _STATES[why], "failure": LOST if why == STOPPED else why, "reason": _REASONS[why]}
