"""What is no node set is refused in plain words."""

import pytest

from router.cluster.fleet.errors import InvalidNodeSet
from router.cluster.fleet.node_sets import names_of


@pytest.mark.parametrize("text", ["nsd[04-01]", "a,nsd[04-01]"])
def test_a_range_that_counts_down_is_refused_with_one_that_does_not(text: str) -> None:
    with pytest.raises(InvalidNodeSet, match="is not a node set: write a range from the lower number to the higher"):
        names_of(text)
