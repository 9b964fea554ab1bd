"""The nodes of a group of alerts: as many as one command may have, whatever events say."""

from datetime import timedelta

from consumers.alerts.life.policy import Policy
from consumers.alerts.life.subject import Subject, of_group
from consumers.alerts.life.surroundings import Group
from router.cluster.fleet.node_sets import MOST


def test_a_group_names_no_more_nodes_than_a_command_may_have() -> None:
    subject = Subject("key", "node-down", "prod", of_group("node-down"), Policy())
    group = Group(subject, over=5, quiet=timedelta(minutes=5))

    for number in range(MOST + 50):
        group.add(f"alert-{number}", f"n{number}", ("reporter", ""))

    assert (len(group.members), group.size) == (MOST + 50, MOST)
    assert group.text() == f"n[0-{MOST - 1}]"
