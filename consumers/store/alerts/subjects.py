"""Reading what a unit of work needs: keys with what was observed of them, open alerts, and what is around them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.engine import Connection

from router.cluster.fleet import node_sets

from ...alerts.alert_row import AlertRow, key_of
from ...alerts.life.lifecycle import EndClaim
from ...alerts.life.policy import Policy
from ...alerts.life.subject import Subject, of_group
from ...alerts.life.surroundings import Group, Surroundings
from ..database import batched
from ..schema.alert_tables import alerts, keys
from . import observed
from .alert_rows import OPEN, query, reporters_of, rows

_STORED: Mapping[str, Policy] = {}
MOST_MEMBERS = 10_000
"""The most members that are counted before a group opens: as many as the largest node set has nodes."""


def end_claim(transaction: Connection, key: str) -> EndClaim | None:
    """Return the claim on the alert of *key* that is open; None if no end of it waits for a second node."""
    subject = read(transaction, [key]).get(key)
    life = subject.lives.open if subject else None
    return life.end_claim if life else None


def read(
    transaction: Connection,
    wanted: Collection[str],
    new: Iterable[Subject] = (),
    policies: Mapping[str, Policy] = _STORED,
) -> dict[str, Subject]:
    """Return the subjects of the keys *wanted*, and those of *new* that are not stored, by key.

    They have what *policies* say now of their rules; otherwise what was stored.
    """
    seen = observed.of_keys(transaction, wanted)
    is_open = {each.key: each for each in _open_of(transaction, wanted)}
    found: dict[str, Subject] = {}
    for portion in batched([*dict.fromkeys(wanted)]):
        for row in transaction.execute(select(keys).where(keys.c.key.in_(portion))).mappings():
            key, rule = row["key"], row["rule"]
            about = tuple((name, value) for name, value in json.loads(row["about"]))
            policy = policies.get(rule)
            if policy and about == of_group(rule):
                policy = policy.of_group
            found[key] = Subject(
                key,
                rule,
                row["cluster"],
                about,
                policy or Policy.from_json(row["policy"]),
                base=row["base"],
                quiet_at=row["quiet_at"],
                quiet_due=row["quiet_due"],
                observations=seen[key],
                row=is_open.get(key),
            )
    return {each.key: each for each in new} | found


def around(
    transaction: Connection,
    subjects: dict[str, Subject],
    suppressors: Mapping[str, frozenset[str]],
    captured: datetime | None = None,
    nodes: Collection[str] = (),
) -> Surroundings:
    """Return what is open around *subjects*, to which those of their groups are added.

    *captured* is the latest time of capture: members of a group opened not long before it.  *nodes* are those that
    alerts are about to open on.
    """
    found = Surroundings(suppressors)
    grouped = {(each.rule, each.cluster): each.policy for each in subjects.values() if each.policy.group_over}
    new = [_group_subject(*where, policy) for where, policy in grouped.items()]
    missing = [each for each in new if each.key not in subjects]
    subjects |= read(transaction, [each.key for each in missing], missing)
    for each in new:
        policy = grouped[each.rule, each.cluster]
        group = Group(subjects[each.key], policy.group_over or 0, policy.group_quiet)
        found.groups[each.rule, each.cluster] = group
        if group.row:
            group.nodes.update(node_sets.unfold(group.row.nodes))
        if group.row is None or group.row.sole_reporter:
            since = None if captured is None else captured - policy.group_quiet
            for id_, node, reporters in _members(transaction, each.rule, each.cluster, since):
                group.add(id_, node, reporters)
    found.add(_parents(transaction, subjects.values(), suppressors, nodes))
    return found


def has_open_members(transaction: Connection, rule: str, cluster: str) -> bool:
    """Say whether any alert of *rule* in *cluster* is open, except the one that stands for others."""
    here = (alerts.c.rule == rule, alerts.c.cluster == cluster, alerts.c.state.in_(OPEN), alerts.c.is_group.is_(False))
    return transaction.execute(select(alerts.c.id).where(*here).limit(1)).first() is not None


def keys_in_use(transaction: Connection) -> set[tuple[str, tuple[str, ...]]]:
    """Return the rules of open alerts, each with the names of what these are about; not of groups."""
    open_ = select(alerts.c.rule, alerts.c.about).where(alerts.c.state.in_(OPEN), alerts.c.is_group.is_(False))
    rows = transaction.execute(open_.limit(MOST_MEMBERS))
    return {(rule, tuple(name for name, _ in json.loads(about))) for rule, about in rows}


def _open_of(transaction: Connection, wanted: Collection[str]) -> Iterator[AlertRow]:
    for portion in batched([*dict.fromkeys(wanted)]):
        yield from rows(transaction, query().where(alerts.c.key.in_(portion), alerts.c.state.in_(OPEN)))


def _members(
    transaction: Connection, rule: str, cluster: str, since: datetime | None
) -> Iterable[tuple[str, str, tuple[str, str]]]:
    here = (alerts.c.rule == rule, alerts.c.cluster == cluster, alerts.c.is_group.is_(False))
    columns = select(alerts.c.id, alerts.c.node, alerts.c.event_node)
    found = [columns.where(*here, alerts.c.state.in_(OPEN)).limit(MOST_MEMBERS)]
    if since is not None:
        ended = (alerts.c.state == "closed", alerts.c.told.is_(True), alerts.c.until > since, alerts.c.since > since)
        found.append(columns.where(*here, *ended).limit(MOST_MEMBERS))
    for each in found:
        for id_, node, reporters in transaction.execute(each):
            yield id_, node, reporters_of(reporters)


def _parents(
    transaction: Connection,
    subjects: Iterable[Subject],
    suppressors: Mapping[str, frozenset[str]],
    more_nodes: Collection[str],
) -> Iterator[AlertRow]:
    wanted = [each for each in subjects if each.rule in suppressors]
    if not wanted:
        return
    rules = frozenset[str]().union(*(suppressors[each.rule] for each in wanted))
    clusters, nodes = {each.cluster for each in wanted}, sorted({"", *more_nodes, *(each.node for each in wanted)})
    here = (alerts.c.state.in_(OPEN), alerts.c.rule.in_(rules), alerts.c.cluster.in_(clusters))
    for portion in batched(nodes):
        yield from rows(transaction, query().where(*here, alerts.c.node.in_(portion)))


def _group_subject(rule: str, cluster: str, policy: Policy) -> Subject:
    about = of_group(rule)
    return Subject(key_of(rule, cluster, about), rule, cluster, about, policy.of_group)
