"""Who is responsible for what an event is about: the most specific row of the setting `consumers.owners`.  Pure.

A row matches if everything that it names does.  A fileset is more specific than a file system, that than nodes, those
than a node class, and that than a cluster; among rows that name nodes, that with the fewest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from router.cluster.facts.views import Known
from router.cluster.fleet.errors import GroupsUnknown, InvalidNodeSet
from router.cluster.fleet.node_sets import names_of
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.node_words import word_of
from router.settings.sections.owner_row import OwnerRow

from ..config.contact_names import unknown_contact
from ..expressions.facts_cache import ClusterFacts

OWNER: Final = "owner"
"""What stands for the owner where a contact is named."""

_CRITERIA = ("fileset", "file_system", "nodes", "node_class", "cluster")
"""What a row may name, the most specific first."""

_NODES = frozenset(("node", "nodes"))


@dataclass(frozen=True, slots=True)
class Owner:
    """The contact *to*, by the row *number* of the setting, counted from 1, which names *what*."""

    to: str
    number: int
    what: str


class Owners:
    """The rows of the setting; any thread may use them."""

    def __init__(self, rows: Sequence[OwnerRow], catalogues: Catalogues) -> None:
        """Keep *rows*.  What is wrong with a row, such as its node set, matches nothing: `mistakes` says it."""
        self._rows = [_Row(number, row) for number, row in enumerate(rows, 1)]
        # The most specific first; among equals the first in the file.
        self._ordered = sorted(self._rows, key=lambda each: each.rank)
        self._catalogues = catalogues

    @property
    def needs_facts(self) -> bool:
        """Whether any row names a node class, whose members only the facts know."""
        return any(each.row.node_class for each in self._rows)

    def of(self, event: Event, known: Known | None = None) -> Owner | None:
        """Return the owner of what *event* is about, given the *known* facts of its cluster; None without any."""
        about = self._about(event, known)
        found = next((each for each in self._ordered if each.matches(about)), None)
        return None if found is None else Owner(found.row.to, found.number, _what(found.row))

    def contact_of(self, facts: ClusterFacts | None = None) -> Callable[[Event], str | None]:
        """Return what gives the contact for an event, by the *facts* of its cluster where rows need them."""

        def contact(event: Event) -> str | None:
            found = self.of(event, facts.of(event.cluster) if facts and self.needs_facts else None)
            return found.to if found else None

        return contact

    def mistakes(self, contacts: Collection[str], known: Collection[Known] = ()) -> Iterator[tuple[int, str, str]]:
        """Yield what is wrong: the number of a row, a field of it, and the mistake.  *known* are facts of clusters."""
        for each in self._rows:
            if wrong := unknown_contact(each.row.to, contacts):
                yield each.number, "to", wrong
            if each.wrong:
                yield each.number, "nodes", each.wrong
        for first, second in combinations(self._rows, 2):
            if first.row.to != second.row.to and first.rank == second.rank and (both := _both(first, second, known)):
                message = f"row {first.number} is as specific, and both match {both}"
                yield second.number, "", f"{message}: name a fileset, nodes or a cluster in one of them"

    def _about(self, event: Event, known: Known | None) -> Mapping[str, Collection[str]]:
        """Return the names of what *event* is about, by what rows call it.

        A node counts if it is the subject of the event, or the event is about no file system.
        """
        file_system, node = _text(event, "fsName"), self._node(event)
        if node is None and file_system is None:
            node = event.node
        word = word_of(node) if node else None
        return {
            "fileset": _one(_text(event, "filesetName")),
            "file_system": _one(file_system),
            "nodes": _one(word),
            "node_class": _classes(word, known) if word and known else (),
            "cluster": (event.cluster,),
        }

    def _node(self, event: Event) -> str | None:
        catalogue = self._catalogues.of(event.origin)
        event_type = catalogue.get(event.name)
        for name in event_type.subject if event_type else ():
            value = event.data.get(name)
            first = value[0] if isinstance(value, list) and value else value
            if catalogue.variables[name].type in _NODES and isinstance(first, str):
                return first
        return None


class _Row:
    """One row with its node sets unfolded."""

    def __init__(self, number: int, row: OwnerRow) -> None:
        self.number, self.row, self.wrong = number, row, ""
        self.names: dict[str, frozenset[str]] = {
            name: frozenset(getattr(row, name)) for name in _CRITERIA if getattr(row, name)
        }
        if row.nodes:
            try:
                self.names["nodes"] = frozenset(
                    word_of(name) for text in row.nodes for name in names_of(text, is_ours=True)
                )
            except (InvalidNodeSet, GroupsUnknown) as error:
                self.names["nodes"], self.wrong = frozenset(), str(error)
        nodes = len(self.names.get("nodes", ()))
        self.rank = (tuple(name not in self.names for name in _CRITERIA), nodes)

    def matches(self, about: Mapping[str, Collection[str]]) -> bool:
        """Return whether everything that the row names is in *about*."""
        return all(not wanted.isdisjoint(about[name]) for name, wanted in self.names.items())


def _both(first: _Row, second: _Row, known: Collection[Known]) -> str:
    """Return what both of two equally specific rows match, empty if nothing."""
    shared = {}
    for name, wanted in first.names.items():
        common = wanted & second.names[name]
        if not common and name == "node_class":
            common = _members(wanted, known) & _members(second.names[name], known)
        if not common:
            return ""
        shared[name] = min(common)
    return ", ".join(f"{name} {value}" for name, value in shared.items()) or "everything"


def _members(classes: Collection[str], known: Collection[Known]) -> frozenset[str]:
    lists = (((each.values or {}).get("node_classes") or {}).get(name, ()) for each in known for name in classes)
    return frozenset(word_of(node) for nodes in lists for node in nodes)


def _classes(node: str, known: Known) -> frozenset[str]:
    classes = (known.values or {}).get("node_classes") or {}
    return frozenset(name for name, members in classes.items() if any(word_of(each) == node for each in members))


def _what(row: OwnerRow) -> str:
    named = (f"{name} {', '.join(getattr(row, name))}" for name in _CRITERIA if getattr(row, name))
    return "; ".join(named) or "the rest"


def _text(event: Event, variable: str) -> str | None:
    value = event.data.get(variable)
    return value if isinstance(value, str) and value else None


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
