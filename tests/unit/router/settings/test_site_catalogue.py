"""What a site adds to the catalogue: events and variables of newer releases, with good errors, and nothing silently."""

from pathlib import Path

import pytest

from router.cluster.callbacks.gpfs.wanted import registrations
from router.errors import SettingsError
from router.model.catalogue import Catalogues
from router.settings import site_catalogue
from router.settings.models import GpfsSettings, Settings
from router.settings.sections.router_section import RouterSettings
from router.sources.decoders import decode

GOOD = """\
version: 1
gpfs:
  categories: {tiering: Moves between tiers}
  variables:
    tierName: {type: word, meaning: The tier, example: cold}
    movedFiles: {type: integer, unit: files, example: "12"}
    movers: {type: nodes, separator: ";"}
  events:
    tierMoved:
      category: tiering
      severity: notice
      variables: [fsName, tierName, movedFiles, movers]
      subject: [fsName, tierName]
      meaning: Files moved to another tier.
      aliases: [tierChanged]
  changes:
    lowDiskSpace: {severity: error, variables: [tierName]}
"""


WRONG = [
    ("version: 2\n", 1, "version: "),
    ("gpfs: {}\n", 1, "version: is missing"),
    ("version: 1\nslurm: {}\n", 2, "slurm: unknown key"),
    ("version: 1\nclusterbus: {}\n", 2, "clusterbus: unknown key"),
    ("version: 1\nsources:\n  gpfs: {}\n", 3, "sources.gpfs: this release knows gpfs"),
    ("version: 1\nsources:\n  clusterbus: {}\n", 3, "sources.clusterbus: this release knows clusterbus"),
    ("version: 1\nsources:\n  Slurm: {}\n", 3, "'Slurm' is not a source"),
    ("version: 1\nsources:\n  slurm: {changes: {}}\n", 3, "sources.slurm.changes: unknown key"),
    (
        "version: 1\nsources:\n  slurm:\n    events:\n      x: {category: disk, meaning: x}\n",
        5,
        "sources.slurm.events.x.category: no category 'disk'",
    ),
    ("version: 1\ngpfs:\n  event: {}\n", 3, "gpfs.event: unknown key"),
    ("version: 1\ngpfs:\n  events:\n    a b: {category: disk, meaning: x}\n", 4, "'a b' is not a name"),
    (
        "version: 1\ngpfs:\n  events:\n    x: {category: disc, meaning: x}\n",
        4,
        "no category 'disc'; did you mean disk",
    ),
    ("version: 1\ngpfs:\n  events:\n    x: {category: disk}\n", 4, "gpfs.events.x.meaning: is missing"),
    (
        "version: 1\ngpfs:\n  events:\n    x:\n      category: disk\n      meaning: x\n      variables: [fsNam]\n",
        7,
        "gpfs.events.x.variables.1: no variable 'fsNam' here; did you mean fsName?",
    ),
    (
        "version: 1\ngpfs:\n  events:\n    x: {category: disk, meaning: x, subject: [fsName]}\n",
        4,
        "gpfs.events.x.subject.1: no variable 'fsName' here",
    ),
    (
        "version: 1\ngpfs:\n  events:\n    x: {category: disk, meaning: x, severity: bad}\n",
        4,
        "gpfs.events.x.severity",
    ),
    (
        "version: 1\ngpfs:\n  events:\n    x: {category: disk, meaning: x}\n    X: {category: disk, meaning: x}\n",
        5,
        "'X' is also a name of x",
    ),
    ("version: 1\ngpfs:\n  variables:\n    a-b: {type: word}\n", 4, "'a-b' cannot name a variable"),
    ("version: 1\ngpfs:\n  variables:\n    arguments: {type: word}\n", 4, "'arguments' cannot name a variable"),
    ("version: 1\ngpfs:\n  variables:\n    a: {type: int}\n", 4, "gpfs.variables.a.type"),
    ("version: 1\ngpfs:\n  variables:\n    a: {type: integer, example: many}\n", 4, "'many' is not an integer"),
    ("version: 1\ngpfs:\n  variables:\n    a: {type: word, separator: ';'}\n", 4, "separator needs type: names"),
    (
        "version: 1\ngpfs:\n  changes:\n    lowDiskSpac: {severity: error}\n",
        4,
        "no event 'lowDiskSpac'; did you mean lowDiskSpace?",
    ),
    ("version: 1\ngpfs:\n  changes:\n    lowDiskSpace: {category: disk}\n", 4, "category: unknown key"),
    (
        "version: 1\nqube:\n  events:\n    heldJob: {category: job, meaning: x}\n",
        4,
        "the words of its trigger",
    ),
    ("version: 1\ngpfs:\n  events:\n    x: {meaning: a, meaning: b}\n", 4, "gpfs.events.x.meaning: appears twice"),
    ("version: [\n", 2, ""),
    ("[]\n", 1, ""),
    ("", 1, ""),
]
"""Files, the line of their mistake, and part of what is said about it."""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str) -> Catalogues:
        (tmp_path / "catalogue.yaml").write_text(text)
        return site_catalogue.catalogues(Settings(router=RouterSettings(catalogue=tmp_path / "catalogue.yaml")))

    return read


def test_an_added_event_is_like_any_other(read):
    catalogue = read(GOOD)["gpfs"]
    event = catalogue.event("TIERCHANGED")

    assert (event.type, event.category, event.severity, event.scope) == ("gpfs.tierMoved", "tiering", "notice", "local")
    assert catalogue.variables["movers"].value(catalogue.variables["movers"].example) == ["node1", "node2"]
    assert catalogue.categories["tiering"] == "Moves between tiers"


def test_its_variables_are_registered_and_decoded_with_their_types(read):
    catalogue = read(GOOD)["gpfs"]

    found = registrations(catalogue, GpfsSettings(events=("tiering", "space")))
    values = decode(["--fsName", "gpfs1", "--movedFiles", "12", "--movers", "n1;n2"], catalogue).data

    parms = {each.identifier: each.parms for each in found}
    assert "--tierName %tierName" in parms["clusterbus-tiering"]
    assert "--tierName %tierName" in parms["clusterbus-space"]
    assert values == {"fsName": "gpfs1", "movedFiles": 12, "movers": ["n1", "n2"]}


def test_a_change_leaves_the_rest_of_a_shipped_event(read):
    before, after = (each["gpfs"].event("lowDiskSpace") for each in (Catalogues.shipped(), read(GOOD)))

    assert (before.severity, after.severity) == ("warning", "error")
    assert after.variables == (*before.variables, "tierName")
    assert (after.category, after.scope, after.meaning) == (before.category, before.scope, before.meaning)


def test_what_this_release_knows_stays_as_it_is_and_is_reported(tmp_path):
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        "version: 1\ngpfs:\n"
        "  variables: {fsName: {type: integer}}\n"
        "  events:\n    diskfailure: {category: node, meaning: mine}\n"
    )

    found, known = site_catalogue.read(file)

    assert found["gpfs"].event("diskFailure").category == "disk"
    assert found["gpfs"].variables["fsName"].type == "word"
    assert "diskfailure" not in found["gpfs"].events
    assert [each.partition(": this release")[0].removeprefix(f"{file}:") for each in known] == [
        "3: gpfs.variables.fsName",
        "5: gpfs.events.diskfailure",
    ]


@pytest.mark.parametrize(("text", "line", "said"), WRONG)
def test_each_mistake_has_its_line(read, text, line, said):
    with pytest.raises(SettingsError) as raised:
        read(text)

    assert f"catalogue.yaml:{line}: " in str(raised.value)
    assert said in str(raised.value)


def test_all_mistakes_come_in_one_run(read):
    with pytest.raises(SettingsError) as raised:
        read("version: 1\ngpfs:\n  events:\n    x: {category: a, meaning: x}\n    y: {category: b, meaning: x}\n")

    assert len(str(raised.value).splitlines()) == 2


ALL_KINDS = """\
version: 2
gpfs:
  colour: red
  variables:
    size: {type: int}
    tierName: {type: word, separator: ";", unitt: x, example: [a]}
  events:
    tierMoved: {category: tirs, variables: [fsName, size, tierNam, 5], subject: [size, storagePool], severity: bad}
    x: {category: disk, meaning: x, aliases: [TIERMOVED]}
  changes:
    lowDiskSpac: {category: disk}
qube: []
"""


def test_a_mistake_of_structure_hides_no_other(read, tmp_path):
    with pytest.raises(SettingsError) as raised:
        read(ALL_KINDS)

    said = str(raised.value).replace("; new ones stand below `events`", "").replace(f"{tmp_path}/catalogue.yaml:", "")
    assert said.splitlines() == [
        "1: version: must be 1",
        "3: gpfs.colour: unknown key",
        "5: gpfs.variables.size.type: must be 'word', 'integer', 'number', 'text', 'names', 'node' or 'nodes'",
        "6: gpfs.variables.tierName.example: must be a text",
        "6: gpfs.variables.tierName.unitt: unknown key",
        "6: gpfs.variables.tierName: separator needs type: names or nodes, not word",
        "8: gpfs.events.tierMoved.meaning: is missing",
        "8: gpfs.events.tierMoved.severity: must be 'info', 'notice', 'warning', 'error' or 'critical'",
        "8: gpfs.events.tierMoved.variables.4: must be a text",
        "8: gpfs.events.tierMoved.category: no category 'tirs'",
        "8: gpfs.events.tierMoved.variables.3: no variable 'tierNam' here; did you mean tierName?",
        "8: gpfs.events.tierMoved.subject.2: no variable 'storagePool' here",
        "9: gpfs.events.x: 'TIERMOVED' is also a name of tierMoved",
        "11: gpfs.changes.lowDiskSpac.category: unknown key",
        "11: gpfs.changes.lowDiskSpac: this release has no event 'lowDiskSpac'; did you mean lowDiskSpace?",
        "12: qube: must be a mapping",
    ]


def test_a_file_that_is_set_must_be_there_and_the_default_one_need_not(tmp_path):
    assert site_catalogue.catalogues(Settings())["gpfs"].events
    with pytest.raises(SettingsError, match=rf"^catalogue {tmp_path}/none\.yaml: cannot be read"):
        site_catalogue.catalogues(Settings(router=RouterSettings(catalogue=tmp_path / "none.yaml")))


def test_a_source_of_this_site_has_a_catalogue_like_all_others(tmp_path):
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        """\
version: 1
sources:
  slurm:
    categories: {job: Jobs}
    variables: {jobId: {type: integer, example: "42"}, nodes: {type: nodes}}
    events:
      jobFailed: {category: job, severity: error, variables: [jobId, nodes], subject: [jobId], meaning: A job failed.}
"""
    )

    catalogues, ignored = site_catalogue.read(file, "https://bus.example.com/schemas/")

    assert ignored == ()
    assert {*catalogues} == {*Catalogues.shipped(), "slurm"}
    slurm = catalogues["slurm"]
    event = slurm.event("JOBFAILED")
    assert (event.type, event.severity, event.subject) == ("slurm.jobFailed", "error", ("jobId",))
    assert slurm.schema_of(event) == "https://bus.example.com/schemas/slurm.jobFailed/1.json"
    decoded = decode(["--jobId", "7", "--nodes", "n1,n2"], slurm)
    assert (decoded.data, decoded.malformed) == ({"jobId": 7, "nodes": ["n1", "n2"]}, ())
