"""What nodes get: files, settings and secrets of their own, and what their answers mean."""

import inspect
import io
import json
import os
import shutil
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cluster.fleet import fanout_lines
from router.cluster.fleet.runner import Answer
from router.cluster.nodes import deployment, relay_settings, spool_findings, zipapps
from router.cluster.nodes.credentials import credentials
from router.cluster.nodes.deployment import Deployment
from router.cluster.nodes.errors import NodesError, Unprepared
from router.cluster.nodes.files import File
from router.cluster.nodes.installer_answer import LostCaptures
from router.cluster.nodes.node_status import finding_of
from router.cluster.nodes.release import SHIM, release
from router.errors import SettingsError
from router.settings.models import NodesSettings
from shim import capture, lost_records
from shim.settings import OPTIONS

RELAY = {"cluster": "prod", "broker": "amqps://mq1.example/clusterbus"}
SECRET = "zeal-quietly"


@pytest.fixture
def secrets(tmp_path):
    """A node's folder of secrets, with a password."""
    folder = tmp_path / "secrets" / "nsd01"
    folder.mkdir(parents=True)
    (folder / "password").write_text(SECRET)
    (folder / "password").chmod(0o600)
    return folder


def settings(tmp_path, **fields):
    return NodesSettings.model_validate(
        {
            "transport": "local",
            "root": f"{tmp_path}/{{node}}",
            "secrets": tmp_path / "secrets",
            "relay": RELAY,
            "timeout": "60s",
            **fields,
        }
    )


def test_every_setting_of_the_relay_is_known_here():
    assert {*relay_settings.KNOWN, *relay_settings.FIXED} == set(OPTIONS)


@pytest.mark.parametrize(
    ("relay", "words"),
    [
        ({}, "nodes.relay.cluster: is missing"),
        ({"cluster": "prod"}, "nodes.relay.broker: is missing"),
        ({**RELAY, "brokers": "x"}, "nodes.relay.brokers: unknown setting"),
        ({**RELAY, "spool": "/gpfs/spool"}, "nodes.relay.spool: the deployment sets this itself"),
        ({**RELAY, "window": "1\nrun = /tmp"}, "nodes.relay.window: must be one line of printable text"),
        ({**RELAY, "broker": f"amqps://a:{SECRET}@mq1.example/"}, "the URL for mq1.example has a password"),
        ({**RELAY, "broker": "amqps://[/"}, "nodes.relay.broker 'amqps://***' is not a URL"),
    ],
    ids=["cluster", "broker", "unknown", "fixed", "lines", "password", "url"],
)
def test_settings_that_no_relay_could_use_are_refused_before_any_node_is_asked(relay, words):
    with pytest.raises(SettingsError) as caught:
        relay_settings.checked(relay)

    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("transport", "root"), [("ssh", "/x/{node}"), ("local", ""), ("local", "/x")], ids=["ssh", "none", "one"]
)
def test_a_root_is_for_nodes_on_this_machine_and_one_for_each(tmp_path, transport, root):
    with pytest.raises(SettingsError, match=r"nodes\.root"):
        Deployment(settings(tmp_path, transport=transport, root=root))


def test_no_nodes_are_an_error(tmp_path):
    with pytest.raises(SettingsError, match="no nodes are named: name at least one node"):
        Deployment(settings(tmp_path)).survey([])


def test_secrets_become_files_that_the_relays_group_may_read(secrets):
    found = credentials(secrets)

    file = found["password-file"]
    assert (file.path, file.mode, file.group) == ("/etc/clusterbus/password", 0o640, "clusterbus")
    assert SECRET not in repr(found)


def test_the_authority_of_all_nodes_goes_to_each_that_has_none_of_its_own(secrets):
    (secrets.parent / "ca.pem").write_text("of all")
    of_all = credentials(secrets)["ca"]
    (secrets / "ca.pem").write_text("its own")

    assert [of_all.path, of_all.content] == ["/etc/clusterbus/ca.pem", b"of all"]
    assert credentials(secrets)["ca"].content == b"its own"


def test_a_certificate_comes_before_a_password(secrets):
    for name in ("node.pem", "node.key"):
        (secrets / name).write_text("x")
        (secrets / name).chmod(0o600)

    assert set(credentials(secrets)) & {"certificate", "key", "password-file"} == {"certificate", "key"}


def test_a_certificate_is_for_all_to_read_because_programs_of_other_users_trust_it_too(secrets):
    (secrets / "ca.pem").write_text("x")

    assert {name: file.mode for name, file in credentials(secrets).items()} == {"password-file": 0o640, "ca": 0o644}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "password").chmod(0o644), "users other than its owner can read it"),
        (lambda folder: (folder / "password").unlink(), "neither a password nor node.pem"),
        (shutil.rmtree, "run `clusterbus broker users --apply` to make passwords"),
        (lambda folder: (folder / "node.pem").write_text("x"), "one of node.pem and node.key"),
        (lambda folder: (folder / "ca.pem").symlink_to("/etc/passwd"), "it is a symbolic link"),
        (lambda folder: (folder / "password").write_text(""), "not a regular file of 1 to"),
        (lambda folder: (folder / "ca.pem").mkdir(), "not a regular file of 1 to"),
        (lambda folder: os.mkfifo(folder / "ca.pem"), "not a regular file of 1 to"),
        (lambda folder: (folder / "password.new").touch(), "a password change was interrupted"),
    ],
    ids=["readable", "gone", "folder", "half", "link", "empty", "directory", "pipe", "rotating"],
)
def test_secrets_that_are_not_safe_or_not_whole_are_refused(secrets, spoil, words):
    spoil(secrets)

    with pytest.raises(Unprepared) as caught:
        credentials(secrets)

    assert words in str(caught.value)


def test_what_others_may_do_with_a_file_is_root_only_for_what_runs():
    files = {each.path: each for each in release().files}

    assert all(each.owner == each.group == "root" and not each.mode & 0o022 for each in files.values())
    assert files["/usr/libexec/clusterbus/capture.py"].mode == 0o755


def test_the_interpreter_of_the_nodes_is_in_what_they_run():
    given = release(python=Path("/opt/python3.9/bin/python3"))

    unit = next(each for each in given.files if each.path.endswith(".service")).content.decode()
    assert "\nExecStart=/opt/python3.9/bin/python3 -I /usr/lib/clusterbus/clusterbus-relay.pyz\n" in unit


def test_the_zipapp_is_the_same_bytes_twice_and_from_a_copy_in_another_order(tmp_path):
    copy = tmp_path / "site-packages"
    for path in sorted(SHIM.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / "shim" / path.relative_to(SHIM)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o600)

    first, second, other = zipapps.relay(SHIM), zipapps.relay(SHIM), zipapps.relay(copy / "shim")

    assert first == second == other
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {"__main__.py", "shim/relay.py", "pika/__init__.py", "pika/LICENSE"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_a_shim_that_is_not_whole_is_not_put_together(tmp_path):
    with pytest.raises(NodesError, match="cannot be built"):
        zipapps.relay(tmp_path)
    with pytest.raises(NodesError, match="the shim's files are incomplete"):
        release(tmp_path)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("n1", "Welcome!\n" + '{"differs": [], "version": "1"}'), ""),
        (Answer("n1", '{"error": "/etc: No space left on device"}', "its command ended with 1"), "/etc: No space left"),
        (Answer("n1", "", "it cannot be reached: no route"), "it cannot be reached: no route"),
        (
            Answer("n1", '{"error": "ended"}', "its command did not finish within 5 s", late=True),
            "within 5 s; the node reports: ended",
        ),
        (Answer("n1", "Password: "), "it answered with output that cannot be read: 'Password: '"),
        (Answer("n1", '["differs"]'), "it answered with output that cannot be read"),
    ],
    ids=["good", "error", "unreachable", "late", "asks", "other"],
)
def test_an_answer_is_good_or_has_its_reason(answer, reason):
    found = finding_of(answer)

    assert found.good == (not reason)
    assert reason in found.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=10,
)
FIELDS = ["node", "error", "differs", "did", "kept", "python", "version", "relay", "left_out", "file_systems"]


@given(st.sampled_from([*FIELDS, "other"]), JSON, st.sampled_from(["", "node is down"]), st.booleans())
def test_an_answer_that_holds_anything_is_a_finding_of_texts(field, value, failure, late):
    good = {"node": "n1", "differs": [], "did": ["x"], "python": "3.6", "version": "1", "left_out": []}

    found = finding_of(Answer("n1", json.dumps({**good, field: value}), failure or "late" * late, late=late))

    json.dumps(found.facts()).encode()
    assert all(isinstance(each, str) for each in (found.reason, found.python, found.version, found.relay))
    assert all(isinstance(each, str) for each in (*found.did, *found.kept, *found.left_out, *found.warnings))
    assert all(map(str.__instancecheck__, chain.from_iterable(found.differs)))
    assert found.good or found.reason


@given(JSON)
def test_an_answer_that_is_any_json_is_a_finding(value):
    found = finding_of(Answer("n1", json.dumps(value)))

    assert found.failed


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"differs": 5}', "'differs': "),
        ('{"did": 5, "differs": []}', "'did': "),
        ('{"differs": [["/a"]]}', "'differs.0.1': "),
        ('{"differs": [], "python": true}', "'python': "),
        ('{"differs": [], "file_systems": {"/a": 1}}', "'file_systems./a': "),
        ('{"differs": [], "colour": "red"}', "'colour': "),
        ('{"differs": [], "version": "' + "1" * 300 + '"}', "'version': "),
        ('{"differs": [], "version": "' + "1" * 70_000 + '"}', "a line of 70,"),
        ('{"differs": ' + "[" * 30_000 + "]" * 30_000 + "}", "nested too deeply"),
        ('{"differs": []}\n{"differs": []}', "it answered more than once"),
        ('{"differs": []}\nBye', "cannot be read: "),
        ('{"differs": []', "cannot be read: "),
        ('{"python": "3.6"}', "it has none of differs, error, kept, spool"),
    ],
)
def test_an_answer_that_an_installer_cannot_have_given_is_a_failure_with_its_reason(output, words):
    found = finding_of(Answer("n1", output))

    assert found.failed
    assert words in found.reason
    assert len(found.reason) < 1500


@pytest.mark.parametrize("more", [{"differs": []}, {"error": "/etc: No space left on device"}])
def test_a_spool_on_a_file_system_of_the_network_is_a_warning(more):
    kinds = {"/var/spool/clusterbus": "gpfs", "/usr/libexec/clusterbus": "xfs"}

    found = finding_of(Answer("n1", json.dumps({**more, "file_systems": kinds})))

    warning = found.warnings[0]
    assert warning.startswith("/var/spool/clusterbus is on gpfs, a file system of the network: when it hangs")
    assert found.good == ("differs" in more)


SPOOL = {
    "exists": True,
    "missing": [],
    "mode": 0o2770,
    "waiting": 0,
    "octets": 0,
    "oldest": 0,
    "full": None,
    "bad": 0,
    "lost": {"f": 0, "d": 0, "e": 0},
    "unsaved": 0,
    "free": 10**12,
    "unreadable": [],
}


@pytest.mark.parametrize(
    ("facts", "errors", "warnings"),
    [
        ({}, [], []),
        (
            {"lost": {"f": 2, "d": 0, "e": 1}},
            [],
            ["3 callbacks could not be stored since", "(spool full: 2, other err"],
        ),
        ({"unsaved": 90}, ["neither the spool nor syslog took some callbacks: 90 bytes"], []),
        ({"full": 120, "waiting": 9}, ["the spool reached its limit 2m ago; now it holds 9 records of 0 MiB"], []),
        ({"full": 120}, [], []),
        ({"waiting": 85_000}, [], ["the spool is at 85% of its limit: it holds 85,000 records of 0 MiB"]),
        ({"octets": 9 * 2**30}, [], ["the spool is at 900% of its limit"]),
        ({"bad": 1}, [], ["1 file in bad/ of the spool"]),
        ({"free": 2**20}, ["only 1 MiB free under the spool"], []),
        ({"unreadable": ["/x: Permission denied"]}, [], ["the spool is not known completely: /x: Permission denied"]),
    ],
)
def test_what_a_node_loses_is_an_error_and_what_it_lost_a_warning(facts, errors, warnings):
    found = finding_of(Answer("n1", json.dumps({"differs": [], "spool": {**SPOOL, **facts}})))

    assert found.good
    assert found.is_well == (not errors)
    assert found.facts()["ok"] == (not errors)
    assert all(text in " ".join(found.errors) for text in errors)
    assert all(text in " ".join(found.warnings) for text in warnings)
    assert (bool(found.errors), bool(found.warnings)) == (bool(errors), bool(warnings))


def test_a_node_that_does_not_say_what_was_lost_is_not_called_good_without_a_word():
    found = finding_of(Answer("n1", json.dumps({"differs": []})))

    assert found.warnings == ("it is not known what was lost there: the node does not say what its spool holds",)


def test_limits_and_letters_are_those_of_capture():
    defaults = inspect.signature(capture.put).parameters

    assert defaults["max_files"].default == spool_findings.MAX_FILES
    assert defaults["max_bytes"].default == spool_findings.MAX_OCTETS
    assert [*spool_findings.REASONS] == [*lost_records.REASONS] == [*LostCaptures.model_fields]


def test_an_answer_may_name_files_that_are_not_utf_8():
    found = finding_of(Answer("n1", json.dumps({"differs": [["/etc/\udcff", "is missing"]]})))

    assert found.differs == (("/etc/\\udcff", "is missing"),)


@pytest.mark.thorough
def test_one_node_whose_answer_is_not_an_installers_keeps_none_of_the_others_back(tmp_path, secrets, monkeypatch):
    for name in ("nsd01", "nsd02"):
        (tmp_path / name).mkdir()
    shutil.copytree(secrets, tmp_path / "secrets" / "nsd02")
    hostile = (
        "import os;os.environ['CLUSTERBUS_NODE_NAME']=='nsd02' and (print('{\"differs\": 5}',flush=True),os._exit(0));"
    )
    monkeypatch.setattr(deployment, "BOOT", hostile + deployment.BOOT)

    facts = Deployment(settings(tmp_path)).deploy(["nsd01", "nsd02"]).facts()

    assert facts["done"] == "nsd01"
    assert [each["nodes"] for each in facts["failed"]] == ["nsd02"]
    assert "'differs': " in facts["failed"][0]["reason"]


@pytest.mark.thorough
@given(st.sampled_from(["node", "code", "seconds", "output", "other"]), JSON)
def test_a_line_of_the_fan_out_is_read_completely_or_refused(field, value):
    line = {"node": "n1", "code": 0, "seconds": 1.5, "output": "", field: value}

    try:
        found = fanout_lines.read(json.dumps(line).encode(), {"n1"})
    except fanout_lines.InvalidLine as error:
        found, reason = None, str(error)
    else:
        reason = ""
    assert len(reason) < 500
    assert (found is None) == bool(reason)
    if found is not None:
        assert found.node == "n1"
        assert isinstance(found.output, str)


@pytest.mark.parametrize("field", ["codes", "timed_out", "unfinished", "not_begun"])
@given(value=JSON)
def test_an_outcome_of_the_fan_out_is_read_completely_or_refused(field, value):
    outcome = {"codes": {"0": "n1"}, "timed_out": "", "unfinished": "", "not_begun": "", field: value}

    try:
        found = fanout_lines.read(json.dumps(outcome).encode(), {"n1"})
    except fanout_lines.InvalidLine as error:
        found, reason = None, str(error)
    else:
        reason = ""
    assert len(reason) < 500
    assert found is None or isinstance(found.timed_out, str)


@pytest.mark.thorough
def test_one_node_without_secrets_keeps_none_of_the_others_back(tmp_path, secrets):
    for name in ("nsd01", "nsd02"):
        (tmp_path / name).mkdir()

    result = Deployment(settings(tmp_path)).deploy(["nsd01", "nsd02"])

    facts = result.facts()
    assert facts["done"] == "nsd01"
    assert [each["nodes"] for each in facts["failed"]] == ["nsd02"]
    assert "nsd02 has neither a password" in facts["failed"][0]["reason"]
    assert list((tmp_path / "nsd02").iterdir()) == []


def test_the_content_of_a_file_is_not_shown():
    assert SECRET not in repr(File("/etc/x", SECRET.encode()))
