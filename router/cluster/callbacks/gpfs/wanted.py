"""The callbacks that clusterbus registers with GPFS.  Pure.

One callback for each family of events, with only the variables of that family:

    mmaddcallback clusterbus-disk --command /usr/libexec/clusterbus/capture-gpfs --event diskFailure
                  --parms "%eventName --eventNode %eventNode ... --fsName %fsName --diskName %diskName"

The parameters are the event's name, then a flag and a variable for each value, free text last: if GPFS loses or splits
a value, the other values are not affected.  capture-gpfs puts `gpfs` before them, so that capture gets the source
`gpfs`, the event, and the pairs as its arguments.  Callbacks are asynchronous, so GPFS does not wait for them, unless
the settings accept the danger of synchronous ones.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from ....errors import SettingsError
from ....model.catalogue import Catalogue
from ....settings.models import CallbackOptions, GpfsSettings
from ...fleet.errors import InvalidNodeSet
from ...gpfs.node_lists import node_list
from ...nodes.capture_script import DEADLINE
from . import risks
from .installed import Registered

PREFIX = "clusterbus-"
DEFAULT = "default"
EVERY_FAMILY = "*"

# Short, and useful with any event.  Lists of nodes grow with the cluster, so only events about nodes carry them.
_ALWAYS = ("eventNode", "myNode", "clusterName")

ACTIONS = ("continue", "quorumLoss", "shutdown")
"""What GPFS may do if a callback fails; the first is its default."""


@dataclass(frozen=True, slots=True)
class Registration(Registered):
    """One wanted callback; empty *nodes* means all nodes, including those added later."""

    alone: tuple[str, ...] = field(default=(), compare=False)
    """The parameters of each event, for when it is registered alone."""

    def singles(self) -> list["Registration"]:
        """Return one registration for each event, for use if GPFS refuses the group."""
        return [
            replace(self, identifier=f"{self.identifier}-{each}", events=(each,), parms=parms, alone=(parms,))
            for each, parms in zip(self.events, self.alone, strict=True)
        ]


def registrations(
    catalogue: Catalogue, settings: GpfsSettings | None = None, asked: Iterable[str] = ()
) -> list[Registration]:
    """Return the callbacks for *settings* and the extra events *asked*: one for each family, in catalogue order.

    A family whose events are all global is registered only on the settings' `global_nodes`, which reduces copies.  They
    must be confirmed as global: other nodes never see a local event.

    Raises SettingsError that names each mistake and each danger that is not accepted.
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
        # Each family may have the same one.
        raise SettingsError("\n".join(dict.fromkeys(mistakes)))
    return found


def _chosen(catalogue: Catalogue, wanted: GpfsSettings, mistakes: list[str]) -> set[str]:
    """Return the names of the events in *wanted*; add unknown and dangerous events to *mistakes*."""
    chosen: set[str] = set()
    for setting, words, sign in (("events", wanted.events, 1), ("without", wanted.without, -1)):
        for word in words:
            if setting == "without" and word.startswith("%"):
                if catalogue.variable(word[1:]) is None:
                    mistakes.append(f"gpfs.without: unknown variable {word}: `clusterbus catalogue` lists them")
                continue
            names = _events(catalogue, word)
            if names is None:
                mistakes.append(f"gpfs.{setting}: {_no_event(catalogue, word)}")
                continue
            if not names:
                mistakes.append(
                    f"gpfs.{setting}: all events of {word} are off by default: name the events that you want"
                )
            chosen = chosen | names if sign > 0 else chosen - names
    accepted = {each.lower() for each in wanted.accept}
    for name in sorted(chosen):
        danger = risks.of_event(catalogue.events[name])
        if danger is not None and name.lower() not in accepted:
            mistakes.append(
                f"gpfs.events: {name} is off by default: {danger}; to register it anyway, set gpfs.accept: [{name}]"
            )
    return chosen


def _events(catalogue: Catalogue, word: str) -> set[str] | None:
    """Return the events of *word*: `default`, a family or an event; None if it is unknown."""
    if word == DEFAULT:
        return {name for name, event in catalogue.events.items() if event.default}
    if word in catalogue.categories:
        return {name for name, event in catalogue.events.items() if event.default and event.category == word}
    event = catalogue.get(word)
    return None if event is None else {event.name}


def _no_event(catalogue: Catalogue, word: str) -> str:
    hint = catalogue.did_you_mean(word) or f"; the families are {', '.join(catalogue.categories)}"
    return f"{word!r} is neither an event nor a family{hint}"


def _check_families(families: Mapping[str, Sequence[str]], wanted: GpfsSettings, mistakes: list[str]) -> None:
    for setting, given in (("parameters", wanted.parameters), ("options", wanted.options)):
        mistakes += [
            f"gpfs.{setting}: unknown family {family!r}; the families are {', '.join(families)}"
            for family in given
            if family not in families and family != EVERY_FAMILY
        ]
    # Nodes are checked even where no family is registered on them.
    _nodes("global_nodes", wanted.global_nodes, mistakes)
    for family, options in wanted.options.items():
        _nodes(f"options.{family}.nodes", options.nodes, mistakes)


def _registration(
    catalogue: Catalogue, family: str, events: Sequence[str], wanted: GpfsSettings, mistakes: list[str]
) -> Registration:
    options = wanted.options.get(family) or wanted.options.get(EVERY_FAMILY) or CallbackOptions()
    for word, reason in risks.of_manner(sync=options.sync, onerror=options.onerror).items():
        if word not in wanted.accept:
            mistakes.append(
                f"gpfs.options: {family}: {word} is dangerous: {reason}; to use it anyway, set gpfs.accept: [{word}]"
            )
    if not options.sync and (options.timeout is not None or options.onerror is not None):
        mistakes.append(f"gpfs.options: {family}: timeout and onerror need sync: true")
    if options.timeout is not None and options.timeout <= DEADLINE:
        seconds = DEADLINE.total_seconds()
        mistakes.append(
            f"gpfs.options: {family}: timeout must be longer than {seconds:g} s, which capture may take: "
            "otherwise GPFS could end capture before the event is stored"
        )
    more = [*wanted.parameters.get(EVERY_FAMILY, ()), *wanted.parameters.get(family, ())]
    unknown = [each for each in more if catalogue.variable(each) is None]
    mistakes += [
        f"gpfs.parameters: {family}: unknown variable {each!r}: `clusterbus catalogue` lists them" for each in unknown
    ]
    less = {word[1:].lower() for word in wanted.without if word.startswith("%")}
    given = [each for each in more if each not in unknown]
    everywhere = not _certainly_global(catalogue, events)
    nodes = _nodes(f"options.{family}.nodes", options.nodes, [])
    return Registration(
        identifier=f"{PREFIX}{family}",
        events=tuple(events),
        parms=_parms(catalogue, events, given, less),
        alone=tuple(_parms(catalogue, [each], given, less) for each in events),
        nodes=nodes or (() if everywhere else _nodes("global_nodes", wanted.global_nodes, mistakes)),
        command=str(wanted.command),
        priority=options.priority,
        sync=options.sync,
        timeout=None if options.timeout is None else ceil(options.timeout.total_seconds()),
        onerror=options.onerror,
    )


def _nodes(setting: str, words: Sequence[str], mistakes: list[str]) -> tuple[str, ...]:
    """Return the nodes and node classes that *words* name; add a text that is none to *mistakes*."""
    try:
        return node_list(words)
    except InvalidNodeSet as error:
        mistakes.append(f"gpfs.{setting}: {error}")
        return ()


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
