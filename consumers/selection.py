"""What a command is about: the options by which letters and deliveries are chosen, said once for all commands.

    @selecting(LetterSelection)
    def show(context, selection): ...

A command gets the options of the selection beside its own, and is called with what was chosen.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import typer

from router import durations
from router.command import fail

_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z", re.IGNORECASE)

LATEST, ALL = 100, 1_000_000
KINDS = ("delivery", "record", "unrouted")
OUTCOMES = "done, retry, dead, wait, open, or the word of what was skipped"


@dataclass(frozen=True)
class Selection:
    """What letters and deliveries alike are chosen by; None lets all pass."""

    subscription: Annotated[str | None, typer.Option(help="Only this subscription's.")] = None
    event: Annotated[str | None, typer.Option(help="Only of this event type, or of this event id.")] = None
    since: Annotated[str | None, typer.Option(help="Only of the last so long, such as 1h.")] = None
    older: Annotated[str | None, typer.Option(help="Only longer ago than this, such as 1d.")] = None
    reason: Annotated[str | None, typer.Option(help="Only with this text in the reason.")] = None
    failure: Annotated[str | None, typer.Option(help="Only with this failure, the short mark that lists show.")] = None

    plain: ClassVar[tuple[str, ...]] = ("subscription", "reason", "failure")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was chosen."""
        return all(getattr(self, each.name) is None for each in fields(self))

    def filters(self) -> dict[str, Any]:
        """Return it as the filters of the store's `find`; raises ValueError for what is no duration."""
        now = datetime.now(UTC)
        is_id = self.event is not None and _ID.match(self.event)
        return {name: getattr(self, name) for name in self.plain} | {
            "event_id": self.event.upper() if self.event and is_id else None,
            "event": None if is_id else self.event,
            "before": now - durations.parse(self.older) if self.older else None,
            "since": now - durations.parse(self.since) if self.since else None,
        }


@dataclass(frozen=True)
class LetterSelection(Selection):
    """What letters are chosen by."""

    kind: Annotated[str | None, typer.Option(help="Only delivery, record (rejected) or unrouted.")] = None

    plain: ClassVar[tuple[str, ...]] = (*Selection.plain, "kind")

    def __post_init__(self) -> None:
        """Refuse a kind that there is not."""
        if self.kind not in (None, *KINDS):
            fail(f"--kind {self.kind!r}: there are {', '.join(KINDS)}", 2)


@dataclass(frozen=True)
class DeliverySelection(Selection):
    """What attempts are chosen by."""

    outcome: Annotated[str | None, typer.Option(help=f"Only with this outcome: {OUTCOMES}.")] = None
    node: Annotated[str | None, typer.Option(help="Only of events of this node.")] = None

    plain: ClassVar[tuple[str, ...]] = (*Selection.plain, "outcome", "node")


Command = TypeVar("Command", bound=Callable[..., None])


def selecting(kind: type[Selection]) -> Callable[[Command], Command]:
    """Give a command the options of a selection of this *kind*; it is called with `selection` in their place."""
    hints = get_type_hints(kind, include_extras=True)
    options = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[each.name])
        for each in fields(kind)
    ]

    def give(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [
            each.replace(annotation=hints[each.name])
            for each in inspect.signature(command).parameters.values()
            if each.name != "selection"
        ]

        @functools.wraps(command)
        def called(*arguments: Any, **values: Any) -> None:  # noqa: ANN401 - what typer has read
            chosen = {each.name: values.pop(each.name) for each in options}
            command(*arguments, selection=kind(**chosen), **values)

        first = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        rest = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
        parameters = [*first, *options, *rest]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer looks at
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called  # type: ignore[return-value]  # of the same type, but for what typer gives it

    return give
