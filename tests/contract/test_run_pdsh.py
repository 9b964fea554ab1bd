"""Commands on nodes through the real pdsh, whose ssh is a stand-in that does what sshd does."""

import json
import shutil
import sys
from datetime import timedelta

import pytest

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.errors import Rejected
from consumers.verbs.run.verb import RunVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.consuming import is_gone, make_delivery, make_event
from tests.contract.test_run_nodes import HOSTILE, SSH, handler, sh, surroundings

pytestmark = pytest.mark.skipif(shutil.which("pdsh") is None, reason="pdsh is not installed")


@pytest.fixture
def pdsh(tmp_path):
    """The settings for a pdsh that finds the stand-in, and where that writes how it was called."""
    program, log, ssh = tmp_path / "pdsh", tmp_path / "ssh.log", tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH.replace("$LOG", str(log)))
    program.write_text(f'#!/bin/sh\nPATH={ssh.parent}:$PATH\nexec pdsh "$@"\n')
    for each in (program, ssh):
        each.chmod(0o755)
    return {"transport": "pdsh", "pdsh": str(program)}, log


def test_each_node_has_its_own_exit_code_output_and_errors(pdsh):
    settings, log = pdsh
    around = surroundings(**settings, ssh_options=["-i", "/etc/key"])
    code = 'echo "$NODE says"; echo oops >&2; test "$NODE" != n2 || exit 7; test "$NODE" != n3 || kill -9 $$'
    function = handler(sh(code), "n[1-4],dead1", around=around, user="operator", connect_timeout="3s")

    report = function(make_delivery())

    assert report.failure == "nodes"
    assert report.result["exit"] | {"255": ""} == {"0": "n[1,4]", "7": "n2", "137": "n3", "255": ""}
    assert report.result["unreachable"] == "dead1"
    assert {"nodes": "n1", "text": "n1 says\n", "octets": 8} in report.result["output"]
    assert {"nodes": "n[1-2,4]", "text": "oops\n", "octets": 5} in report.result["errors"]
    called = next(line for line in log.read_text().splitlines() if " n1 " in line)
    assert "-oConnectTimeout=3" in called
    assert "-loperator" in called.replace("-l operator", "-loperator")
    assert "-oBatchMode=yes -i /etc/key -oServerAliveInterval=15" in called


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_arrives_as_one_word_on_each_node(tmp_path, pdsh, name):
    bait, said = tmp_path / "bait", tmp_path / "said"
    value = HOSTILE[name].replace("{bait}", str(bait))
    code = f"import os,sys,json; open({str(said)!r},'a').write(json.dumps([sys.argv[1:], os.environ['MINE']])+'\\n')"
    command = [sys.executable, "-IS", "-c", code, "<{{ data.value }}>", "last"]
    function = handler(command, "n[1-2]", around=surroundings(**pdsh[0]), environment={"MINE": "{{ data.value }}"})

    report = function(make_delivery(make_event(value=value)))

    assert report.failure is None, report
    assert [json.loads(each) for each in said.read_text().splitlines()] == [[[f"<{value}>", "last"], value]] * 2
    assert not bait.exists()


def test_time_is_up_on_the_node_itself_and_nothing_is_left(pdsh, tmp_path, monkeypatch):
    monkeypatch.setattr("consumers.verbs.run.local.GRACE", timedelta(seconds=1))
    pids = tmp_path / "pids"
    code = f"echo $$ >> {pids}; test $NODE = n1 && trap '' TERM; while :; do sleep 0.1; done"

    report = handler(sh(code), "n[1-3]", around=surroundings(**pdsh[0]), timeout="1s")(make_delivery())

    assert (report.failure, report.reason) == ("timeout", "timed out on n[1-3]")
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_command_that_reads_gets_nothing(pdsh):
    report = handler(["cat"], "n1", around=surroundings(**pdsh[0]), timeout="5s")(make_delivery())

    assert report.failure is None


def test_the_longest_command_arrives_and_a_longer_one_is_refused(pdsh):
    function = handler(["test", "{{ data.big }}", "=", "x"], "n1", around=surroundings(**pdsh[0]))

    report = function(make_delivery(make_event(big="%" * 50_000)))

    assert report.failure == "exit:1"
    with pytest.raises(Rejected, match="octets"):
        function(make_delivery(make_event(big="%" * 62_000)))


def test_check_says_what_is_missing_for_it():
    kinds = Kinds(Registrations(Catalogues.shipped()), {})
    copy = {"name": "a", "copy": {"from": "/etc/hostname", "to": "/etc/x"}, "nodes": "n1"}
    command = RunVerb.model_validate({"command": ["true"], "nodes": "n1"})

    def remarks(verb, **consumers):
        settings = Settings.model_validate({"consumers": {"transport": "pdsh", **consumers}})
        return [each.message for each in verb.remarks_here(kinds, settings)]

    assert remarks(command) == []
    assert remarks(command, pdsh="/no/pdsh") == ["nodes are unreachable: /no/pdsh does not exist on this machine"]
    assert any(
        "copy needs consumers.transport: ssh" in each for each in remarks(RunVerb.model_validate({"steps": [copy]}))
    )
