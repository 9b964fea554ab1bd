"""The alerts around one: those that suppress it, and the group that stands for it and others of its rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import timedelta

from router.cluster.fleet import node_sets
from router.model.events import Value
from router.model.ids import derived_id
from router.model.node_words import word_of

from ..alert_row import AlertRow
from ..rules import Rule
from .observations import Observation
from .subject import Subject

_SILENT = "clusterbus.nodeSilent"
"""By this the router itself says that a node is away."""


@dataclass(slots=True)
class Group:
    """The group of one rule in one cluster: its own subject, and its members by the ids of their alerts.

    While it is closed, or opened by what one node alone reports, *members* has those that are open or opened not long
    ago, each with its reporter and who confirmed it; otherwise only new ones.  *nodes* has the nodes of all members.
    """

    subject: Subject
    over: int
    quiet: timedelta
    members: dict[str, tuple[str, str]] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    said: Counter[str] = field(default_factory=Counter)
    """How many of *members* each node alone reports; under the empty text, those that two nodes report."""
    of_themselves: Counter[str] = field(default_factory=Counter)
    """How many of *members* each node is believed alone on: one for each is sure, for all others it may lie."""

    @property
    def row(self) -> AlertRow | None:
        """The alert that stands for the members, while it is open."""
        return self.subject.row

    @property
    def size(self) -> int:
        """How many nodes it is about, or how many alerts, where they are about no nodes."""
        return len(self.nodes) or (self.row.openings + 1 if self.row else len(self.members))

    def text(self) -> str:
        """Return the nodes as one folded text."""
        return node_sets.fold(self.nodes)

    @property
    def is_sure(self) -> bool:
        """Whether too many are left, whichever one node lies."""
        total = self.said.total() + self.of_themselves.total()
        return total - max(map(self._of_one, self.said | self.of_themselves), default=0) > self.over

    def is_many_of(self, reporter: str) -> bool:
        """Say whether too many are sure or reported by *reporter* alone."""
        return self.said[""] + len(+self.of_themselves) + self._of_one(reporter) > self.over

    def _of_one(self, node: str) -> int:
        """Return how many members there are not if *node* lies."""
        return self.said[node] + max(0, self.of_themselves[node] - 1) if node else 0

    def add(self, alert_id: str, node: str, reporters: tuple[str, str]) -> None:
        """Count the alert *alert_id* as a member, which is about *node* if that has a name.

        *reporters* are who reported it and who confirmed it, as in `AlertRow`.  Of more nodes than a command may have,
        the group names the first ones: events choose them, and can make up any.
        """
        if alert_id in self.members:
            self._count(self.members[alert_id], -1)
        self.members[alert_id] = reporters
        self._count(reporters, 1)
        if node and len(self.nodes) < node_sets.MOST:
            self.nodes.add(node)

    def _count(self, reporters: tuple[str, str], by: int) -> None:
        reported, confirmed = reporters
        counter = self.of_themselves if reported == confirmed else self.said
        counter["" if confirmed and reported != confirmed else reported] += by

    def opening(self, row: AlertRow) -> Observation:
        """Return what opens or confirms the alert that stands for the members, of which *row* is the latest."""
        what = "confirmed" if self.row else "group"
        return Observation(
            id=derived_id(row.id, f"{what}/{self.subject.key}"),
            at=self.subject.after_all(row.since),
            kind="opens",
            cause="group",
            event_type=row.event_type,
            event_node=row.event_node,
            vouched=self.is_sure,
            severity=row.severity,
            summary=f"{row.rule}: more than {self.over} at once",
            owner=row.owner,
            depth=row.depth,
        )

    def suppressing(self, row: AlertRow) -> str | None:
        """Return the id of the alert that stands for the members, if it is open and may suppress *row*."""
        if self.row is None:
            return None
        is_own_word = self.row.sole_reporter == row.event_node == row.confirmed_by
        return self.row.id if is_own_word or is_believed(self.row, row) else None

    def grown(self) -> AlertRow:
        """Return the alert that stands for the members, with one more; that it may soon close is forgotten."""
        if self.row is None:
            raise ValueError("the group is not open")
        nodes = self.text() if self.size >= 2 * self.row.openings_told else self.row.nodes
        return replace(self.row, openings=self.size, nodes=nodes, tell_due=None)


class Surroundings:
    """What is open around the alerts of one unit of work."""

    def __init__(self, suppressors: Mapping[str, frozenset[str]]) -> None:
        """Begin without alerts; *suppressors* has the rules that suppress each rule."""
        self.suppressors = suppressors
        self.parents = frozenset().union(*suppressors.values())
        """The rules that suppress any."""
        self._parents: dict[tuple[str, str, str], dict[str, AlertRow]] = {}
        self._nodes: dict[str, frozenset[str]] = {}
        self.groups: dict[tuple[str, str], Group] = {}

    def add(self, parents: Iterable[AlertRow]) -> None:
        """Take in open alerts that may suppress others, or what has become of them."""
        for each in parents:
            same = self._parents.setdefault((each.rule, each.cluster, each.node), {})
            if each.state == "closed":
                same.pop(each.id, None)
            else:
                same[each.id] = each

    def parent_of(self, row: AlertRow) -> str | None:
        """Return the id of an open alert that suppresses *row*: the one that opened first."""
        return min((each.id for each in self._parents_of(row)), default=None)

    def is_explained(self, row: AlertRow) -> bool:
        """Say whether an alert that opened before or after *row* suppresses it, and is not suppressed itself."""
        # One that is suppressed itself does not count: rules that suppress one another in a circle keep one voice.
        return any(each.suppressed_by is None for each in self._parents_of(row))

    def group_of(self, subject: Subject) -> Group | None:
        """Return the group that *subject* is, or that its alerts belong to, if its rule has any."""
        return self.groups.get((subject.rule, subject.cluster))

    def _parents_of(self, row: AlertRow) -> Iterator[AlertRow]:
        for rule in self.suppressors.get(row.rule, frozenset()):
            for node in {"", row.node}:
                for each in self._parents.get((rule, row.cluster, node), {}).values():
                    is_other = row.id not in (each.id, each.suppressed_by)
                    if is_other and is_believed(each, row) and self._covers(each, row):
                        yield each

    def _covers(self, parent: AlertRow, row: AlertRow) -> bool:
        if not parent.is_group:
            known = dict(row.about)
            return all(_is_same(value, known.get(name), row.node) for name, value in parent.about)
        nodes = self._nodes_of(parent)
        return not nodes or row.node in nodes

    def _nodes_of(self, parent: AlertRow) -> AbstractSet[str]:
        group = self.groups.get((parent.rule, parent.cluster))
        if group and group.row and group.row.id == parent.id:
            return group.nodes
        if parent.id not in self._nodes:
            self._nodes[parent.id] = frozenset(node_sets.unfold(parent.nodes))
        return self._nodes[parent.id]


def is_believed(parent: AlertRow, row: AlertRow) -> bool:
    """Say whether *parent* may suppress *row*: one node's word does not silence what others report.

    What one node alone reports suppresses only what the same node alone reports, and that the node is silent, which
    the router says: it confirms that the node is away.
    """
    sole = parent.sole_reporter
    return not sole or sole == row.sole_reporter or (row.event_type == _SILENT and bool(parent.nodes))


def _is_same(mine: Value, other: Value, node: str) -> bool:
    """Say whether two alerts about *mine* and *other* under one name may be about the same; names of *node* differ."""
    if mine is None or other is None or mine == other:
        return True
    return bool(node) and word_of(str(mine)) == word_of(str(other)) == node


def suppressors(rules: Mapping[str, Rule]) -> Mapping[str, frozenset[str]]:
    """Return the rules that suppress each rule, by its name."""
    found: dict[str, set[str]] = {}
    for name, rule in rules.items():
        for child in rule.suppresses:
            if child != name:
                found.setdefault(child, set()).add(name)
    return {name: frozenset(each) for name, each in found.items()}
