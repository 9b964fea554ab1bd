"""The options that several commands have, defined once: subscription files, selections, names to complete.

    @selecting(LetterSelection)
    def show(context, selection): ...

The command has its own options and those of the selection.  It is called with the selection as one argument.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_type_hints

import typer

from router.cli.app import current, past
from router.cli.catalogue import event_names
from router.cli.output import fail
from router.model import ids
from router.settings import loading

from ..config import subscription_files

if TYPE_CHECKING:
    from ..subscriptions.models import Subscriptions

_FILES = "Subscription files or folders; by default those in the settings."
Files = Annotated[list[Path] | None, typer.Argument(help=_FILES)]
FileOption = Annotated[list[Path] | None, typer.Option("--file", help=_FILES)]


def loaded(context: typer.Context, file: list[Path] | None) -> Subscriptions:
    """Return the subscriptions in the files *file*, by default those in the settings.  Raises SubscriptionsError."""
    from router.settings.site_catalogue import catalogues  # noqa: PLC0415 - commands about letters need no subscriptions

    from ..subscriptions import validation  # noqa: PLC0415 - idem

    settings = current(context)
    return validation.load(file or [settings.consumers.subscriptions], catalogues(settings), settings)


def subscription_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of subscriptions that begin with *incomplete*, for completion; none if files are unreadable."""
    with suppress(Exception):
        # A completion does not run the command's root, which loads the settings.
        settings = loading.load(context.find_root().params.get("file")).settings.consumers
        paths = context.params.get("file") or [settings.subscriptions]
        found = subscription_files.names([*paths, *subscription_files.of_callbacks(settings.callbacks)])
        return sorted(each for each in found if each.startswith(incomplete))
    return []


OfSubscription = Annotated[
    str | None, typer.Option("--subscription", help="Only of this subscription.", autocompletion=subscription_names)
]

LATEST, ALL = 100, 1_000_000
KINDS = ("delivery", "record", "unrouted")
OUTCOMES = "done, retry, dead, wait, open, or the word for a skipped delivery"


@dataclass(frozen=True)
class Selection:
    """The options that letters and deliveries have in common; None selects all."""

    subscription: OfSubscription = None
    event: Annotated[
        str | None, typer.Option(help="Only of this event type or event id.", autocompletion=event_names)
    ] = None
    since: Annotated[str | None, typer.Option(help="Only newer than this: 1h, 18:00, monday 07:00.")] = None
    older: Annotated[str | None, typer.Option(help="Only older than this: 1d, 18:00, 2026-11-20.")] = None
    reason: Annotated[str | None, typer.Option(help="Only if the reason contains this text.")] = None
    failure: Annotated[
        str | None, typer.Option(help="Only with this failure: the short code in the column `failure`.")
    ] = None

    plain: ClassVar[tuple[str, ...]] = ("subscription", "reason", "failure")

    @property
    def is_empty(self) -> bool:
        """Whether no option is set."""
        return all(getattr(self, each.name) is None for each in fields(self))

    def filters(self) -> dict[str, Any]:
        """Return the selection as arguments of the store's `find`; ends the command if a time is none."""
        now = datetime.now(UTC)
        is_id = self.event is not None and ids.has_form(self.event.upper())
        return {name: getattr(self, name) for name in self.plain} | {
            "event_id": self.event.upper() if self.event and is_id else None,
            "event": None if is_id else self.event,
            "before": past("--older", self.older, now) if self.older else None,
            "since": past("--since", self.since, now) if self.since else None,
        }


@dataclass(frozen=True)
class LetterSelection(Selection):
    """The options that select letters."""

    kind: Annotated[str | None, typer.Option(help="Only of this kind: delivery, record (rejected) or unrouted.")] = None

    plain: ClassVar[tuple[str, ...]] = (*Selection.plain, "kind")

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in (None, *KINDS):
            fail(f"--kind {self.kind!r}: use one of {', '.join(KINDS)}", 2)


@dataclass(frozen=True)
class DeliverySelection(Selection):
    """The options that select attempts."""

    outcome: Annotated[str | None, typer.Option(help=f"Only with this outcome: {OUTCOMES}.")] = None
    node: Annotated[str | None, typer.Option(help="Only for events of this node.")] = None

    plain: ClassVar[tuple[str, ...]] = (*Selection.plain, "outcome", "node")


Command = TypeVar("Command", bound=Callable[..., None])


def selecting(kind: type[Selection]) -> Callable[[Command], Command]:
    """Add the options of selection *kind* to a command, which is called with one `selection` instead of them."""
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
        def called(*arguments: Any, **values: Any) -> None:  # noqa: ANN401 - parsed by typer
            chosen = {each.name: values.pop(each.name) for each in options}
            command(*arguments, selection=kind(**chosen), **values)

        first = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        rest = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
        parameters = [*first, *options, *rest]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called  # type: ignore[return-value]  # the same type, except for the options

    return give
