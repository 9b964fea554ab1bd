"""Nodes are found by any of their names; a name of several nodes is refused, and the error names them."""

import pytest

from consumers.gpfs.errors import NotThere, SeveralThere
from consumers.gpfs.this_node import here
from router.cluster.gpfs.cluster_nodes import Member


def member(name, address):
    return Member(name.partition(".")[0], name, name, address, quorum=False, manager=False)


CLUSTER = [member("cl01.a.org", "10.1.0.1"), member("cl01.b.org", "10.1.0.2"), member("cl02.b.org", "10.1.0.3")]


@pytest.mark.parametrize(
    ("host", "address", "found"),
    [
        ("cl01.b.org", "", "cl01.b.org"),
        ("CL02", "", "cl02.b.org"),
        ("cl02.elsewhere.org", "", "cl02.b.org"),
        ("cl01", "10.1.0.2", "cl01.b.org"),
    ],
)
def test_this_machine_is_found_by_its_full_name_then_its_short_name_then_its_address(host, address, found):
    assert here(CLUSTER, host, lambda each: each == address).admin_name == found


def test_a_short_name_in_two_domains_is_refused_with_the_names_of_both_nodes():
    with pytest.raises(SeveralThere, match=r"'cl01' is cl01\.a\.org and cl01\.b\.org: use a full name"):
        here(CLUSTER, "cl01", lambda _: False)
    with pytest.raises(NotThere, match="does not list its name"):
        here(CLUSTER, "elsewhere", lambda _: False)
