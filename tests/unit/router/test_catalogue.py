"""Looking up event types and variables."""

import pytest

from router.catalogue import Catalogue, Catalogues, load, unknown
from router.errors import UnknownEvent
from router.events import Event


@pytest.fixture(scope="module")
def gpfs() -> Catalogue:
    return load("gpfs")


@pytest.fixture(scope="module")
def shipped() -> Catalogues:
    return Catalogues.shipped()


@pytest.mark.parametrize("name", ["clusterManagerTakeOver", "clusterManagerTakeover", "CLUSTERMANAGERTAKEOVER"])
def test_an_event_is_found_in_any_case_and_by_alias_under_its_own_name(gpfs: Catalogue, name: str) -> None:
    assert gpfs.event(name).name == "clusterManagerTakeOver"


def test_a_variable_is_found_in_any_case(gpfs: Catalogue) -> None:
    variable = gpfs.variable("FSNAME")

    assert variable is not None
    assert variable.name == "fsName"


def test_an_unknown_event_is_refused_with_what_is_near(gpfs: Catalogue) -> None:
    with pytest.raises(UnknownEvent, match="gpfs has no event 'softQuotaExceded'; did you mean softQuotaExceeded"):
        gpfs.event("softQuotaExceded")


def test_nothing_is_near_to_nonsense(shipped: Catalogues) -> None:
    assert shipped.near("xyzzy") == ()


def test_a_name_is_found_in_every_source_that_has_it(shipped: Catalogues) -> None:
    assert [each.source for each in shipped.find("HEARTBEAT")] == ["clusterbus"]
    assert shipped.find("nothing") == ()


def test_an_unknown_source_has_an_empty_catalogue(shipped: Catalogues) -> None:
    assert shipped.of("slurm").get("jobDone") is None


def test_an_unknown_event_has_a_category_that_is_known(shipped: Catalogues) -> None:
    stand_in = unknown("slurm", "jobDone")

    assert (stand_in.type, stand_in.severity, stand_in.scope) == ("slurm.jobDone", "warning", "local")
    assert stand_in.category in shipped.categories


def test_every_event_type_has_a_sample_that_an_event_can_carry(shipped: Catalogues) -> None:
    for each in shipped.all():
        data = shipped.sample(each)

        assert set(each.variables) <= data.keys()
        Event(
            id="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
            type=each.type,
            source="/x",
            time="2026-11-20T15:22:07.980656123Z",
            cluster="prod",
            node="nsd01",
            category=each.category,
            severity=each.severity,
            scope=each.scope,
            data=data,
        )


def test_samples_have_the_variables_types(gpfs: Catalogue) -> None:
    sample = gpfs.sample(gpfs.event("softQuotaExceeded"))

    assert sample["blockUsage"] == 4500000
    assert sample["fsName"] == "gpfs1"
    assert sample["quorumNodes"] == ["node1", "node2", "node3"]
