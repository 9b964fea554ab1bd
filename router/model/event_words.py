"""An event as people write it on a command line or in a test: `gpfs.diskFailure fsName=gpfs1`.  Pure.

The source may be left out, or be a word of its own: `diskFailure`, `gpfs diskFailure`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UnknownEvent, UnknownVariable, did_you_mean
from .catalogue import Catalogue, Catalogues, EventType, Variable, unknown


@dataclass(frozen=True, slots=True)
class Written:
    """An event type and its variables, by the names in the catalogue if it has them, with their values as texts."""

    event_type: EventType
    variables: Mapping[str, str]


def read(words: Sequence[str], catalogues: Catalogues, *, unknown_too: bool = False) -> Written:
    """Return what *words* say: an event type, then NAME=VALUE for each variable.

    Raises UnknownEvent for an event type and UnknownVariable for a variable that no catalogue has, or that is not
    written like that; with *unknown_too* only for the latter.

    >>> read(["gpfs", "diskFailure", "FSNAME=gpfs1"], Catalogues.shipped()).variables
    {'fsName': 'gpfs1'}
    """
    is_source = words[0] in catalogues or (unknown_too and not catalogues.find(words[0]) and "." not in words[0])
    parts = 2 if is_source and len(words) > 1 and "=" not in words[1] else 1
    text = ".".join(words[:parts])
    event_type = _made_up(text, catalogues) if unknown_too else named(text, catalogues)
    catalogue = catalogues.of(event_type.source)
    variables: dict[str, str] = {}
    for each in words[parts:]:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise UnknownVariable(f"{each!r} is not NAME=VALUE")
        found = catalogue.variable(name)
        if not unknown_too:
            found = variable(name, event_type, catalogue)
        name = found.name if found else name
        if name in variables:
            raise UnknownVariable(f"{name} is given twice")
        variables[name] = value
    return Written(event_type, variables)


def named(text: str, catalogues: Catalogues) -> EventType:
    """Return the event type that *text* names, `diskFailure` or `gpfs.diskFailure`; raises UnknownEvent.

    >>> named("gpfs.diskFailure", Catalogues.shipped()).type
    'gpfs.diskFailure'
    """
    source, _, name = text.rpartition(".")
    found = [each for each in catalogues.find(name) if source in ("", each.source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownEvent(f"{text} is an event type of several sources: write {' or '.join(e.type for e in found)}")
    if text in catalogues:
        raise UnknownEvent(f"{text} is a source: write an event type too, as in {_first(catalogues[text])}")
    hint = (catalogues.of(source) if source in catalogues else catalogues).did_you_mean(name)
    raise UnknownEvent(f"no event type {text!r}{hint or '; `clusterbus catalogue` shows all'}")


def variable(name: str, event_type: EventType, catalogue: Catalogue) -> Variable:
    """Return the variable *name* of *event_type*, in any case; raises UnknownVariable if it cannot have one."""
    theirs = {each.name: each for each in catalogue.of(event_type)}
    found = catalogue.variable(name)
    if found is not None and found.name in theirs:
        return found
    listed = ", ".join(sorted(theirs)) or "no variables"
    if found is not None:
        raise UnknownVariable(f"{event_type.name} cannot have data.{found.name}; it has {listed}")
    hint = did_you_mean(name, theirs) or did_you_mean(name, catalogue.variables) or f"; there are {listed}"
    raise UnknownVariable(f"no variable data.{name}{hint}")


def _made_up(text: str, catalogues: Catalogues) -> EventType:
    """Return the event type *text*, also one that is in no catalogue; raises UnknownEvent if it names no source."""
    try:
        return named(text, catalogues)
    except UnknownEvent:
        source, dot, name = text.partition(".")
        if not dot or not source or not name or "=" in text:
            raise UnknownEvent(f"{text!r} names no source: write SOURCE.EVENT, as in slurm.jobDone") from None
        return unknown(source, name)


def _first(catalogue: Catalogue) -> str:
    return next(iter(catalogue.events.values())).type
