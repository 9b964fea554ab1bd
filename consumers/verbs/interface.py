"""The interface of verbs and handlers, and the list of installed verbs.

A verb is the model of the options below its name in a subscription, and creates the handler that acts on events.  Verbs
are entry points of the group `clusterbus.verbs`, so that another distribution can add its own:

    [project.entry-points."clusterbus.verbs"]
    ticket = "site_verbs:TicketVerb"
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar

from router.settings.models import Settings

from ..config.event_samples import Kinds, Remark
from ..config.field_types import Closed
from ..deliveries import Delivery, Report
from ..errors import Mistake, SubscriptionsError

__all__ = ["GROUP", "Delivery", "Handler", "Kinds", "Remark", "Report", "Surroundings", "Verb", "installed"]

GROUP = "clusterbus.verbs"

# Not named `log`: importing the package of that verb would replace the name.
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a consumer passes to the handlers that it creates.

    *name*, *file* and *line* belong to the subscription.  Once *stopping* is set, a handler should end within seconds
    and return None for each delivery that it interrupted.
    """

    name: str
    stopping: threading.Event = field(default_factory=threading.Event)
    settings: Settings = field(default_factory=Settings)
    file: str = ""
    line: int = 0

    def mistake(self, place: str, message: str) -> SubscriptionsError:
        """Return the error to raise if this machine cannot serve the subscription; *place* is, say, `run.user`."""
        return SubscriptionsError([Mistake(self.file, self.line, self.name, place, message)])


class Handler:
    """Handles the deliveries of one subscription.  Several threads may call it at once, one per delivery."""

    is_contained: ClassVar[bool] = False
    """Whether nothing that a call runs can end the consumer's process.

    If it is False, an attempt during which the consumer died counts as failed; if it is True, the attempt is repeated.
    """

    @abstractmethod
    def __call__(self, delivery: Delivery) -> Report | None:
        """Handle *delivery*; return None if a stop interrupted it and it must be repeated.

        May raise anything: `Rejected` dead-letters the delivery at once, any other class is a failure with its name.
        """

    @abstractmethod
    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return everything that a call would do as plain values, without any effect and without secrets.

        `clusterbus route` shows the plan; with `mode: shadow` it is recorded and nothing is done.  Raises Rejected if
        the call would.
        """

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - for those that have some
        """Return the targets of the call, such as `post hooks.example.com:443`; each has its own circuit breaker.

        While all breakers are open, the delivery waits.  While some are open, the handler is called: it must skip
        those targets (`delivery.paused_targets`) and report that it has not finished (`Report.again`).
        """
        return ()

    def close(self) -> None:
        """Release all resources; no call follows."""


class Verb(Closed):
    """The options below a verb's name.  Importing the module should be cheap: handlers import what they need."""

    templates: ClassVar[tuple[str, ...]] = ()
    """Names of the fields whose texts are templates."""

    tells: ClassVar[bool] = False
    """Whether the verb notifies people, so that silences apply to it."""

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - for those that have some
        """Yield mistakes and warnings about the options on any machine; places are relative to the verb."""
        yield from ()

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - as above
        """Yield what is wrong with the options on this machine, such as a missing program; places are as above."""
        yield from ()

    @classmethod
    def misread(cls, name: str, text: str) -> str:  # noqa: ARG003 - as above
        """Return why the handler cannot use *text*, filled in for the template field *name*; empty where it can."""
        return ""

    @property
    def failures(self) -> Collection[str] | None:
        """The kinds of failures that its handler reports, such as `exit` for all exit codes; None where any may come.

        In addition, each handler fails with the names of the exceptions that it raises.
        """
        return None

    reports: ClassVar[tuple[str, str] | None] = None
    """The events of source `clusterbus` that report its outcomes: one for success, one for failure."""

    @abstractmethod
    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError (`surroundings.mistake`) if this machine cannot run it."""


@cache
def installed() -> Mapping[str, type[Verb]]:
    """Return the installed verbs by name; a verb that cannot be imported is logged and left out."""
    found: dict[str, type[Verb]] = {}
    for each in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            verb = each.load()
        except Exception as error:  # noqa: BLE001 - another distribution's module must not end all commands
            logger.error("verb cannot be loaded", extra={"verb": each.name, "from": each.value, "reason": repr(error)})  # noqa: TRY400 - the reason is enough
            continue
        if isinstance(verb, type) and issubclass(verb, Verb):
            found[each.name] = verb
        else:
            logger.error("entry point is not a verb", extra={"verb": each.name, "from": each.value})
    return found
