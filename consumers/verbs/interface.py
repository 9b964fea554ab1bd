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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, NamedTuple

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from router.errors import did_you_mean
from router.model.events import Event
from router.settings.models import Settings
from router.settings.yaml_documents import Place

from ..config.event_samples import Kinds, Remark
from ..config.field_types import Closed
from ..deliveries import Delivery, Report
from ..errors import Mistake, SubscriptionsError

__all__ = ["GROUP", "Delivery", "Handler", "Kinds", "Remark", "Report", "Surroundings", "Verb", "installed"]

GROUP = "clusterbus.verbs"

# Not named `log`: importing the package of that verb would replace the name.
logger = logging.getLogger(__name__)


def _no_action(name: str, _given: Mapping[str, object]) -> Verb | str:
    return f"no actions are known here, so not {name} either"


def _no_changes(_alert: str) -> tuple[Event, Event] | None:
    return None


@dataclass(frozen=True)
class Surroundings:
    """What a consumer passes to the handlers that it creates.

    *name*, *file* and *line* belong to the subscription.  Once *stopping* is set, a handler should end within seconds
    and return None for each delivery that it interrupted.  *action* gives the verb that runs an action of the catalogue
    with values, or a text that says why it cannot be run so.  *changes* gives the first and the last change of an alert
    that were published, by its id; None where they are not known.
    """

    name: str
    stopping: threading.Event = field(default_factory=threading.Event)
    settings: Settings = field(default_factory=Settings)
    file: str = ""
    line: int = 0
    action: Callable[[str, Mapping[str, object]], Verb | str] = _no_action
    changes: Callable[[str], tuple[Event, Event] | None] = _no_changes

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

    action: str = ""
    """The name of the action that a call runs, and its class: see the verb `action`."""

    action_class: str = ""

    divides: bool = False
    """Whether a call can act on some of its nodes (`delivery.portion`), and report that the others are left."""

    def nodes(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - for those that have some
        """Return the nodes on which the call acts, without those where an earlier attempt succeeded.

        Limits of nodes count them.  Raises Rejected if the call would.
        """
        return ()

    def prepared(self, delivery: Delivery) -> Delivery:
        """Return *delivery* with all that templates of its guard may read; raises Rejected if the call would."""
        return delivery

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - for those that have some
        """Return the targets of the call, such as `post hooks.example.com:443`; each has its own circuit breaker.

        While all breakers are open, the delivery waits.  While some are open, the handler is called: it must skip
        those targets (`delivery.paused_targets`) and report that it has not finished (`Report.again`).
        """
        return ()

    def close(self) -> None:
        """Release all resources; no call follows."""


OF_A_STEP: Mapping[str, object] = {"output": "n1", "exit": 0, "state": "done", "succeeded": "n1", "failed": "n2"}
"""The sample of what templates read of an earlier step."""


class TemplateText(NamedTuple):
    """A template among the options of a verb: its *place*, its *text*, and the *field* that it belongs to.

    *steps* names the earlier steps whose values it may read.
    """

    place: Place
    text: str
    field: str = ""
    steps: tuple[str, ...] = ()

    def unknown_step(self, read: Iterable[tuple[str, str]]) -> str:
        """Return what is wrong with the values of steps that it has *read*; an empty text if nothing is."""
        later = [name for name, _ in read if name not in self.steps]
        if not later:
            return ""
        if not self.steps:
            return f"no step comes before this: steps.{later[0]} has no value here"
        hint = did_you_mean(later[0], self.steps) or f"; these do: {', '.join(self.steps)}"
        return f"no step {later[0]} comes before this{hint}"


def texts_in(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield all texts in *value*, at any depth, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from texts_in(each, (*place, at))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_in(each, (*place, name))


class Verb(Closed):
    """The options below a verb's name.  Importing the module should be cheap: handlers import what they need."""

    short_form: ClassVar[str] = ""
    """The field that a text in place of the options stands for; empty if there is no short form."""

    templates: ClassVar[tuple[str, ...]] = ()
    """Names of the fields whose texts are templates."""

    tells: ClassVar[bool] = False
    """Whether the verb notifies people, so that silences apply to it."""

    keeps_alerts: ClassVar[bool] = False
    """Whether it keeps alerts in another system: their changes keep their order, and no silence mutes the end."""

    leaves_out_suppressed: ClassVar[bool] = False
    """Whether it leaves out changes of alerts that are suppressed, unless `where` asks for `suppressedBy`."""

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - for those that have some
        """Yield mistakes and warnings about the options on any machine; places are relative to the verb."""
        yield from ()

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - as above
        """Yield what is wrong with the options on this machine, such as a missing program; places are as above."""
        yield from ()

    @classmethod
    def template_texts(cls, options: Mapping[str, object]) -> Iterator[TemplateText]:
        """Yield the templates in *options*, which are as written and perhaps wrong."""
        for name in cls.templates:
            for place, text in texts_in(options.get(name), (name,)):
                yield TemplateText(place, text, name)

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

    @property
    def named_variables(self) -> Sequence[str]:
        """The variables of events that its options name otherwise than in templates."""
        return ()

    @property
    def reads_facts(self) -> bool:
        """Whether its handler reads facts of the cluster otherwise than in templates."""
        return False

    def implied_variables(self, settings: Settings) -> Sequence[str]:  # noqa: ARG002 - for those that have some
        """Return the variables that it reads although no option names them, as a function does by its parameters."""
        return ()

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Verb:
        """Return the verb of a subscription that was written as JSON with these *values*."""
        return cls.model_validate(values)

    reports: ClassVar[tuple[str, str] | None] = None
    """The events of source `clusterbus` that report its outcomes: one for success, one for failure."""

    is_audited: ClassVar[bool] = False
    """Whether these events are also written to the audit, together with the outcome."""

    @abstractmethod
    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError (`surroundings.mistake`) if this machine cannot run it."""

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic's
        return {cls.short_form: value} if cls.short_form and isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema, including the short form if there is one."""
        found = handler(schema)
        if cls.short_form:
            target = handler.resolve_ref_schema(found)
            full = dict(target)
            target.clear()
            target |= {name: full.pop(name) for name in ("title", "description") if name in full}
            target["anyOf"] = [full["properties"][cls.short_form], full]
        return found


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
