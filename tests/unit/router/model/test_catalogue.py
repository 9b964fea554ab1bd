"""Looking up event types and variables."""

import pytest

from router.errors import UnknownEvent
from router.model.catalogue import Catalogue, Catalogues, load, unknown


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
    assert shipped.did_you_mean("xyzzy") == ""


def test_a_name_is_found_in_every_source_that_has_it(shipped: Catalogues) -> None:
    assert [each.source for each in shipped.find("HEARTBEAT")] == ["clusterbus"]
    assert shipped.find("nothing") == ()


def test_an_unknown_source_has_an_empty_catalogue(shipped: Catalogues) -> None:
    assert shipped.of("slurm").get("jobDone") is None


def test_an_unknown_event_has_a_category_that_is_known(shipped: Catalogues) -> None:
    stand_in = unknown("slurm", "jobDone")

    assert (stand_in.type, stand_in.severity, stand_in.scope) == ("slurm.jobDone", "warning", "local")
    assert stand_in.category in shipped.categories


def test_only_variables_that_an_event_may_have_are_optional(shipped: Catalogues) -> None:
    for each in shipped.all():
        catalogue = shipped.of(each.source)

        assert {*catalogue.optional_of(each)} <= {variable.name for variable in catalogue.of(each)}


def test_a_common_variable_that_an_event_type_names_itself_always_applies_to_it(gpfs: Catalogue) -> None:
    assert "clusterManager" in gpfs.optional_of(gpfs.event("mount"))
    assert "clusterManager" not in gpfs.optional_of(gpfs.event("clusterManagerTakeOver"))
