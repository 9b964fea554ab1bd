"""Which callbacks clusterbus registers with GPFS.  Pure.

One callback for each family of events, with only the variables of that family:

    mmaddcallback clusterbus-disk --command /usr/libexec/clusterbus/capture-gpfs --event diskFailure
                  --parms "%eventName --eventNode %eventNode ... --fsName %fsName --diskName %diskName"

First the event's name, then a flag and the variable for each, free text last: what is lost or split by GPFS then
shifts nothing but itself.  capture-gpfs puts `gpfs` before them, so capture gets the source `gpfs`, the event, and
the pairs as its arguments.  Asynchronous, unless the settings take that danger: GPFS waits for none of them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import ceil
from typing import Literal, get_args

from ...catalogue import Catalogue
from ...errors import SettingsError
from ...sections import CallbackOptions, GpfsSettings
from . import dangers
from .capturing import DEADLINE
from .registered import Registered

COMMAND = str(GpfsSettings().command)
PREFIX = "clusterbus-"
DEFAULT = "default"
EVERY_FAMILY = "*"

# Useful with any event and short; the lists of nodes grow with the cluster and go only with events that are about them.
_ALWAYS = ("eventNode", "myNode", "clusterName")

Action = Literal["continue", "quorumLoss", "shutdown"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What GPFS may do where a callback fails; the first is what it does where nothing is said."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One callback that is wanted; empty *nodes* means all nodes, those added later included."""

    identifier: str
    events: tuple[str, ...]
    parms: str
    nodes: tuple[str, ...] = ()
    command: str = COMMAND
    priority: float | None = None
    sync: bool = False
    timeout: timedelta | None = None
    onerror: Action | None = None
    alone: tuple[str, ...] = field(default=(), compare=False)
    """The parameters of each of the events where it is registered by itself."""

    def arguments(self, identifier: str | None = None) -> list[str]:
        """Return the arguments for mmaddcallback, under another *identifier* where one is given."""
        return replace(self.registered(), identifier=identifier or self.identifier).arguments()

    def registered(self) -> Registered:
        """Return how GPFS would list it."""
        return Registered(
            identifier=self.identifier,
            command=self.command,
            events=self.events,
            parms=self.parms,
            nodes=self.nodes,
            priority=self.priority,
            sync=self.sync,
            timeout=None if self.timeout is None else ceil(self.timeout.total_seconds()),
            onerror=self.onerror,
        )

    def singles(self) -> list["Registration"]:
        """Return one registration for each event, for where GPFS does not take them together."""
        return [
            replace(self, identifier=f"{self.identifier}-{each}", events=(each,), parms=parms, alone=(parms,))
            for each, parms in zip(self.events, self.alone, strict=True)
        ]


def registrations(
    catalogue: Catalogue, settings: GpfsSettings | None = None, asked: Iterable[str] = ()
) -> list[Registration]:
    """Return the callbacks that *settings* want, one a family, in the catalogue's order; *asked* are events besides.

    A family whose events are all global is registered on the settings' `global_nodes` only, which keeps copies few.
    It has to be certain that they are global: a local event would never be seen from elsewhere.

    Raises SettingsError that names each mistake, and each danger that is not accepted.
    """
    wanted = settings or GpfsSettings()
    mistakes: list[str] = []
    chosen = _chosen(catalogue, wanted, mistakes) | {each.name for each in map(catalogue.event, asked)}
    families = {
        category: [name for name, event in catalogue.events.items() if event.category == category and name in chosen]
        for category in catalogue.categories
    }
    _check_families(families, wanted, mistakes)
    found = [
        _registration(catalogue, family, events, wanted, mistakes) for family, events in families.items() if events
    ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return found


def _chosen(catalogue: Catalogue, wanted: GpfsSettings, mistakes: list[str]) -> set[str]:
    """Return the names of the events that *wanted* asks for; what is no event, and what is dangerous, is a mistake."""
    chosen: set[str] = set()
    for setting, words, sign in (("events", wanted.events, 1), ("without", wanted.without, -1)):
        for word in words:
            if _is_variable(word, setting):
                if catalogue.variable(word[1:]) is None:
                    mistakes.append(f"gpfs.without: there is no variable {word}: `clusterbus catalogue` lists them")
                continue
            names = _events(catalogue, word)
            if names is None:
                mistakes.append(f"gpfs.{setting}: {_no_event(catalogue, word)}")
                continue
            if not names:
                mistakes.append(
                    f"gpfs.{setting}: the events of {word} are all off by default: name those that you want"
                )
            chosen = chosen | names if sign > 0 else chosen - names
    accepted = {each.lower() for each in wanted.accept}
    for name in sorted(chosen):
        danger = dangers.of_event(catalogue.events[name])
        if danger is not None and name.lower() not in accepted:
            mistakes.append(f"gpfs.events: {name} is off by default, since {danger}; gpfs.accept: [{name}] takes that")
    return chosen


def _is_variable(word: str, setting: str) -> bool:
    return setting == "without" and word.startswith("%")


def _events(catalogue: Catalogue, word: str) -> set[str] | None:
    """Return the events that *word* means: `default`, a family, or an event; None where it is none of them."""
    if word == DEFAULT:
        return {name for name, event in catalogue.events.items() if event.default}
    if word in catalogue.categories:
        return {name for name, event in catalogue.events.items() if event.default and event.category == word}
    event = catalogue.get(word)
    return None if event is None else {event.name}


def _no_event(catalogue: Catalogue, word: str) -> str:
    near = catalogue.near(word)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; families are {', '.join(catalogue.categories)}"
    return f"{word!r} is neither an event nor a family{hint}"


def _check_families(families: Mapping[str, Sequence[str]], wanted: GpfsSettings, mistakes: list[str]) -> None:
    for setting, given in (("parameters", wanted.parameters), ("options", wanted.options)):
        mistakes += [
            f"gpfs.{setting}: there is no family {family!r}; there are {', '.join(families)}"
            for family in given
            if family not in families and family != EVERY_FAMILY
        ]


def _registration(
    catalogue: Catalogue, family: str, events: Sequence[str], wanted: GpfsSettings, mistakes: list[str]
) -> Registration:
    options = wanted.options.get(family) or wanted.options.get(EVERY_FAMILY) or CallbackOptions()
    for word, reason in dangers.of_manner(sync=options.sync, onerror=options.onerror).items():
        if word not in wanted.accept:
            mistakes.append(f"gpfs.options: {family}: {word} is dangerous: {reason}; gpfs.accept: [{word}] takes that")
    if not options.sync and (options.timeout is not None or options.onerror is not None):
        mistakes.append(f"gpfs.options: {family}: timeout and onerror go with sync only")
    if options.timeout is not None and options.timeout <= DEADLINE:
        seconds = DEADLINE.total_seconds()
        mistakes.append(
            f"gpfs.options: {family}: timeout has to be longer than {seconds:g} s, which capture may take: "
            "GPFS would go on, or end it, before the event is kept"
        )
    more = [*wanted.parameters.get(EVERY_FAMILY, ()), *wanted.parameters.get(family, ())]
    unknown = [each for each in more if catalogue.variable(each) is None]
    mistakes += [
        f"gpfs.parameters: {family}: there is no variable {each!r}: `clusterbus catalogue` lists them"
        for each in unknown
    ]
    less = {word[1:].lower() for word in wanted.without if word.startswith("%")}
    given = [each for each in more if each not in unknown]
    everywhere = not _certainly_global(catalogue, events)
    return Registration(
        identifier=f"{PREFIX}{family}",
        events=tuple(events),
        parms=_parms(catalogue, events, given, less),
        alone=tuple(_parms(catalogue, [each], given, less) for each in events),
        nodes=options.nodes or (() if everywhere else wanted.global_nodes),
        command=str(wanted.command),
        priority=options.priority,
        sync=options.sync,
        timeout=options.timeout,
        onerror=options.onerror,
    )


def _certainly_global(catalogue: Catalogue, events: Sequence[str]) -> bool:
    return all(
        catalogue.events[each].scope == "global" and catalogue.events[each].status["scope"] == "confirmed"
        for each in events
    )


def _parms(catalogue: Catalogue, events: Sequence[str], more: Sequence[str], less: Collection[str]) -> str:
    own = (variable for event in events for variable in catalogue.events[event].variables)
    named = [variable.name for each in more if (variable := catalogue.variable(each)) is not None]
    wanted = [each for each in dict.fromkeys((*_ALWAYS, *own, *named)) if each.lower() not in {"eventname", *less}]
    ordered = sorted(wanted, key=lambda each: _may_have_blanks(catalogue, each))
    return " ".join(("%eventName", *(f"--{each} %{each}" for each in ordered)))


def _may_have_blanks(catalogue: Catalogue, variable: str) -> bool:
    kind = catalogue.variables[variable]
    return kind.type == "text" or kind.separator == " "
