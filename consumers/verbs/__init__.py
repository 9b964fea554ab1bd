"""What is done with an event: the protocol that every verb keeps, and the verbs that are installed.

A verb is a model of what is written below its name in a subscription, and makes the handler that does it.  Verbs are
found by entry point, group `clusterbus.verbs`, so that another distribution can bring its own:

    [project.entry-points."clusterbus.verbs"]
    ticket = "site_verbs:TicketVerb"
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar

from router.sections import Settings

from ..deliveries import Delivery, Report
from ..errors import Mistake, SubscriptionsError
from ..fields import Closed
from ..kinds import Kinds, Remark

__all__ = ["GROUP", "Delivery", "Handler", "Kinds", "Remark", "Report", "Surroundings", "Verb", "installed"]

GROUP = "clusterbus.verbs"

# Not `log`: that is the package of a verb, and once it is imported also a name in here.
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a handler is given of the consumer that calls it.

    *name*, *file* and *line* are the subscription's.  Once *stopping* is set a handler should come to an end within
    seconds, and return None for what it broke off.
    """

    name: str
    stopping: threading.Event = field(default_factory=threading.Event)
    settings: Settings = field(default_factory=Settings)
    file: str = ""
    line: int = 0

    def mistake(self, place: str, message: str) -> SubscriptionsError:
        """Return what to raise where the subscription cannot be served on this machine; *place* is `run.user`."""
        return SubscriptionsError([Mistake(self.file, self.line, self.name, place, message)])


class Handler:
    """Does one subscription's work.  Called from several threads at once, one for each delivery."""

    @abstractmethod
    def __call__(self, delivery: Delivery) -> Report | None:
        """Do it; None where it was broken off by a stop, and is to be done again.

        May raise anything: `Rejected` gives the delivery up at once, all else is a failure by the name of its class.
        """

    @abstractmethod
    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return what a call would do, as plain values and whole: no effect, no secrets.

        Shown by `clusterbus route`, and recorded instead of the effect where `mode` is `shadow`.  Raises Rejected
        where the call would.
        """

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - for those that have some
        """Return what the call depends on, such as `post hooks.example.com:443`: each has a breaker of its own.

        While all of them are open the delivery waits.  While some are, the handler is called and has to leave those
        out (`delivery.shunned`), and to say that it is not through (`Report.again`).
        """
        return ()

    def close(self) -> None:
        """Let go of what was opened; no call follows."""


class Verb(Closed):
    """What is written below a verb's name.  Importing the module should be cheap: handlers import what they need."""

    templates: ClassVar[tuple[str, ...]] = ()
    """The fields whose texts are templates."""

    tells: ClassVar[bool] = False
    """Whether it tells people: then silences hold for it."""

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - for those that have some
        """Yield what is wrong here, or may not have been meant, as this machine is now; places are below the verb."""
        yield from ()

    reports: ClassVar[tuple[str, str] | None] = None
    """The events of source `clusterbus` that tell of its outcomes: one for success, one for failure."""

    @abstractmethod
    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what does it.  Raises SubscriptionsError (`surroundings.mistake`) where it can't on this machine."""


@cache
def installed() -> Mapping[str, type[Verb]]:
    """Return the verbs that are installed, by name; one that cannot be imported is logged and left out."""
    found: dict[str, type[Verb]] = {}
    for each in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            verb = each.load()
        except Exception as error:  # noqa: BLE001 - somebody else's module must not end all commands
            logger.error("verb can't be loaded", extra={"verb": each.name, "from": each.value, "reason": repr(error)})  # noqa: TRY400 - the reason says it all
            continue
        if isinstance(verb, type) and issubclass(verb, Verb):
            found[each.name] = verb
        else:
            logger.error("entry point is no verb", extra={"verb": each.name, "from": each.value})
    return found
