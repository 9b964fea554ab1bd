"""Samples of events: what the registrations of this site pass, made as real events are made."""

import pytest

from consumers.config.event_samples import Kind, Kinds, Samples
from consumers.config.registrations import Registrations
from router.cluster.callbacks.gpfs.refusals import Remembered
from router.model.catalogue import Catalogues
from router.settings.models import Settings

SHIPPED = Catalogues.shipped()


def kind(name: str, settings: dict[str, object] | None = None, remembered: Remembered | None = None) -> Kind:
    registrations = Registrations(SHIPPED, Settings.model_validate(settings or {}), remembered)
    (event_type,) = SHIPPED.find(name)
    return Samples(registrations).of(event_type)


def test_a_sample_has_what_the_callback_of_its_family_passes_and_its_own_name():
    data = kind("lowDiskSpace").variants[0].data

    assert data == {
        "eventName": "lowDiskSpace",
        "eventNode": ["node7.example.org"],
        "myNode": "node1.example.org",
        "clusterName": "gpfs1.example.org",
        "storagePool": "system",
        "fsName": "gpfs1",
        # Of noDiskSpace, which is in the same family: GPFS passes them as UNDEFINED.
        "filesetName": None,
        "reason": None,
    }


@pytest.mark.parametrize("name", ["downNodes", "upNodes", "quorumNodes"])
def test_a_variable_that_no_registration_passes_is_in_no_sample_until_the_settings_name_it(name):
    named = {"gpfs": {"parameters": {"disk": [name]}}}

    assert all(name not in each.data for each in kind("diskFailure").variants)
    assert kind("diskFailure", named).variants[0].data[name]


def test_a_variable_that_the_settings_leave_out_is_in_no_sample():
    assert "reason" not in kind("unmount", {"gpfs": {"without": ["%reason"]}}).given


def test_a_family_that_gpfs_refused_as_a_group_passes_each_event_only_its_own_variables():
    remembered = Remembered(split=frozenset({"clusterbus-space"}))

    assert "reason" not in kind("lowDiskSpace", remembered=remembered).given
    assert "reason" in kind("noDiskSpace", remembered=remembered).given


def test_events_that_this_release_lacks_or_that_the_settings_leave_out_are_not_registered():
    lacking = Remembered(lacking={"afmRPOMiss": "there is no event 'afmRPOMiss'"})

    assert not kind("afmRPOMiss", remembered=lacking).is_registered
    assert not kind("filesetLimitExceeded").is_registered
    assert not kind("mount", {"gpfs": {"without": ["mount"]}}).is_registered
    assert kind("ccrFileChange", remembered=Remembered(asked={"mine": ("ccrFileChange",)})).is_registered
    assert not kind("doneJob").is_registered
    assert kind("nodeSilent").is_registered


def test_an_event_that_is_not_registered_has_the_sample_that_it_would_have():
    data = kind("filesetLimitExceeded").variants[0].data

    assert (data["eventName"], data["filesetName"], data["softLimit"]) == ("filesetLimitExceeded", "projects", 4194304)


def test_in_the_variants_each_optional_variable_is_absent_alone_and_all_are():
    found = [each.data for each in kind("noDiskSpace").variants]
    absent = [{name for name, value in each.items() if value is None} for each in found]

    assert absent[0] == set()
    assert absent[1:5] == [{"storagePool"}, {"reason"}, {"filesetName"}, {"eventNode"}]
    assert absent[-1] == {"storagePool", "reason", "filesetName", "eventNode"}


def test_in_the_variants_a_list_has_one_item_and_several():
    found = [each.data["diskName"] for each in kind("diskFailure").variants]

    assert ["nsd01", "nsd02"] in found
    assert ["nsd01"] in found


def test_a_subject_is_written_as_in_real_events():
    assert kind("nodeLeave").variants[0].subject == "node7.example.org"
    assert {each.subject for each in kind("noDiskSpace").variants} == {"gpfs1/system", "gpfs1"}


def test_what_clusterbus_does_not_know_of_its_own_events_is_left_out_or_null():
    found = [each.data for each in kind("epochStarted").variants]

    assert any("reports" not in each for each in found)
    assert any(each.get("previousEpoch", "") is None for each in found)


def test_a_variable_of_a_newer_release_that_the_settings_name_is_possible_but_may_be_absent():
    found = kind("diskFailure", {"gpfs": {"parameters": {"disk": ["reason"]}}})

    assert "reason" in found.possible
    assert {each.data["reason"] for each in found.variants} == {"normal", None}


def test_every_sample_of_every_event_type_fits_its_types():
    samples = Samples(Registrations(SHIPPED))

    for each in SHIPPED.all():
        for variant in samples.of(each).variants:
            assert variant.malformed is None
            assert "arguments" not in variant.data


def test_the_settings_that_would_pass_a_variable_are_named():
    (lacking,) = SHIPPED.find("nodeLeave")
    named = Kinds.of([lacking], Samples(Registrations(SHIPPED)))
    settings = Settings.model_validate({"gpfs": {"without": ["%downNodes"]}})
    without = Kinds.of([lacking], Samples(Registrations(SHIPPED, settings)))

    assert named.unpassed("downNodes") == ["gpfs.nodeLeave"]
    assert "add downNodes to gpfs.parameters.node" in named.remedy(["gpfs.nodeLeave"], "downNodes")
    assert "remove %downNodes from gpfs.without" in without.remedy(["gpfs.nodeLeave"], "downNodes")
