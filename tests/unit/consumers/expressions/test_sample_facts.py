"""The facts that checks try expressions with have all that an expression reads, by any name."""

import pytest

from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues

SHIPPED = Catalogues.shipped()


def checked(folder, on, where):
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - name: it\n    on: {on}\n    log: {{}}\n    where: {where}\n")
    return check(file, SHIPPED)


@pytest.mark.parametrize(
    "where",
    [
        'facts.file_systems[data.fsName].attributes["blockSize"] == "4194304"',
        "int(facts.file_systems[data.fsName].attributes.blockSize) > 1048576",
        'facts.file_systems["projects"].attributes["encryption"].startsWith("y")',
        'facts.nodes[node].state == "down"',
        'facts.nodes["nsd01.a.org"].state == "down" || facts.nodes["nsd01.b.org"].state == "down"',
        'facts.nodes["nsd01"].state == "down" || facts.nodes["nsd01.b.org"].state == "down"',
        'facts.names["10.0.0.1"].startsWith("nsd")',
        'facts.names["NSD_01.a.org"].startsWith("nsd")',
        'facts.nodes[node].admin_name.startsWith("nsd")',
    ],
)
def test_facts_of_any_name_are_in_the_sample(tmp_path, where):
    report = checked(tmp_path, "diskFailure", where)

    assert (report.mistakes, report.faults, report.warnings) == ((), (), ())


def test_a_filter_that_fails_names_nothing_of_the_sample_cluster(tmp_path):
    [mistake] = checked(tmp_path, "diskFailure", "facts.nodes[node].quorum && int(data.fsName) > 1").mistakes

    assert "cannot be evaluated for diskFailure" in mistake.message
    assert "not known of cluster" not in mistake.message
