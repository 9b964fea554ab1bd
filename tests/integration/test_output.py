"""Every command on a terminal and in a pipe, over values that would steer a terminal: all is seen, nothing obeyed."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import yaml
from typer.main import get_command

from consumers.cli.main import app
from consumers.deliveries import DeadLetter
from consumers.policies.circuit_breaker import Breaker
from consumers.processes.job_files import ERR, OUT, RESULT, Jobs
from consumers.store import approvals, attempts, breakers, letters, silences
from consumers.store.approvals import Approval
from consumers.store.attempts import Attempt
from consumers.store.database import Store
from consumers.store.letters import Letter
from consumers.store.silences import Silence
from router.broker.session import Session
from router.broker.topology import HISTORY, base
from router.simulator.cluster_state import CallbackState
from router.simulator.listings.callback_listing import callbacks_for_people
from router.simulator.simulated_cluster import Cluster
from tests.alerts import ALERT, alert_row, keep
from tests.consuming import make_delivery, make_event, publish
from tests.mm_commands import answering
from tests.rabbit import Tap
from tests.terminals import HOSTILE, OURS, SEEN, terminals
from tests.waiting import wait_for

NOW = datetime.now(UTC)
FILE = """\
version: 1
subscriptions:
  - {name: act, on: quota, run: {command: [/bin/echo, "{{ data.filesetName }}"]}}
  - {name: off, on: disk, mode: off, where: 'data.fsName == "[/boo][red]"', log: {}}
"""
EVENT, LETTER = "01M7XDHD6YFQKHXD9TJAAEFMZ8", "00ff00ff00ff00ff"

# A case is the words of a command and its exit code.  Where it shows nothing that is hostile, it begins with `quiet`.
CASES = {
    "alerts ack": [("alerts", "ack", HOSTILE, 1)],
    "alerts close": [("alerts", "close", HOSTILE, "--comment", "x", 1)],
    "alerts history": [("alerts", "history", HOSTILE, 1), ("quiet", "alerts", "history", ALERT, 0)],
    "alerts list": [
        ("alerts", "list", 0),
        ("alerts", "list", "--node", HOSTILE, 2),
        ("alerts", "list", "--rule", f"{HOSTILE}x", 2),
        ("alerts", "list", "--cluster", HOSTILE, 0),
    ],
    "alerts note": [("alerts", "note", HOSTILE, "--comment", "x", 1)],
    "alerts rules": [("alerts", "rules", "--file", HOSTILE, 2), ("quiet", "alerts", "rules", "--page", 0)],
    "alerts show": [("alerts", "show", ALERT, 0)],
    "alerts unack": [("alerts", "unack", HOSTILE, 1)],
    "alerts watch": [("alerts", "watch", "--node", HOSTILE, 2), ("alerts", "watch", "--rule", f"{HOSTILE}x", 2)],
    "actions list": [("quiet", "actions", "list", 0)],
    "actions run": [
        ("actions", "run", "start-disk", "--with", f"fileSystem={HOSTILE}", 2),
        ("actions", "run", HOSTILE, 2),
    ],
    "actions show": [("actions", "show", HOSTILE, 2), ("quiet", "actions", "show", "start-disk", 0)],
    "breakers close": [("breakers", "close", f"{HOSTILE}x", 1)],
    "breakers list": [("breakers", "list", 0)],
    "broker remove": [("--settings", HOSTILE, "broker", "remove", 2)],
    "broker setup": [("quiet", "broker", "setup", "--dry-run", 0), ("--settings", HOSTILE, "broker", "setup", 2)],
    "broker users": [("broker", "users", "nsd01", "--cluster", "prod", 0), ("broker", "users", HOSTILE, 2)],
    "callbacks apply": [("callbacks", "apply", "--dry-run", 1)],
    "callbacks plan": [("callbacks", "plan", 1)],
    "callbacks remove": [("callbacks", "remove", "--dry-run", 1)],
    "callbacks show": [("callbacks", "show", 1), ("@listed", "callbacks", "show", "--all", 0)],
    "callbacks status": [("callbacks", "status", 1)],
    "catalogue": [("catalogue", HOSTILE, 1), ("quiet", "catalogue", 0), ("quiet", "catalogue", "diskFailure", 0)],
    "check": [("check", HOSTILE, 1), ("quiet", "check", 0)],
    "consume": [("@until", "consume", "--dry-run", "--since", "1h", 0), ("quiet", "consume", HOSTILE, 2)],
    "dead drop": [("dead", "drop", HOSTILE, 1), ("quiet", "dead", "drop", LETTER, "--dry-run", 0)],
    "dead edit": [("dead", "edit", LETTER, "--set", f"data.filesetName={HOSTILE}", 1)],
    "dead list": [("dead", "list", 0), ("dead", "list", "--group", 0)],
    "dead replay": [("quiet", "dead", "replay", LETTER, "--dry-run", 0), ("dead", "replay", HOSTILE, 1)],
    "dead show": [("dead", "show", LETTER, 0), ("dead", "show", HOSTILE, 1)],
    "deliveries": [("deliveries", 0), ("quiet", "deliveries", "--summary", 0)],
    "demo": [("demo", "--folder", f"@folder/{HOSTILE}", 2)],
    "doctor": [("doctor", HOSTILE, 1)],
    "emit": [("emit", "gpfs", "mount", f"={HOSTILE}", 2), ("quiet", "emit", "gpfs", "mount", f"fsName={HOSTILE}", 0)],
    "facts history": [("facts", "history", HOSTILE, 2), ("facts", "history", 0)],
    "facts read": [("facts", "read", 1)],
    "facts show": [("facts", "show", 0), ("facts", "show", HOSTILE, 1)],
    "init": [("init", "--cluster", "prod", "--broker", HOSTILE, "--yes", 2)],
    "jobs approve": [("jobs", "approve", HOSTILE, 1)],
    "jobs cancel": [("jobs", "cancel", HOSTILE, 2), ("quiet", "jobs", "cancel", "job-1", 1)],
    "jobs list": [("jobs", "list", 0)],
    "jobs pending": [("jobs", "pending", 0)],
    "jobs refuse": [("jobs", "refuse", HOSTILE, 1)],
    "jobs show": [("jobs", "show", "job-1", 0), ("jobs", "show", HOSTILE, 2)],
    "jobs wait": [("jobs", "wait", HOSTILE, 2), ("quiet", "jobs", "wait", "job-1", 0)],
    "nodes deploy": [("nodes", "deploy", "n[1-2]", "--dry-run", 1), ("nodes", "deploy", "n[1-2]", 1)],
    "nodes gaps": [("nodes", "gaps", HOSTILE, 2)],
    "nodes remove": [("@listed", "nodes", "remove", "n[1-2]", 1), ("nodes", "remove", HOSTILE, 2)],
    "nodes status": [("nodes", "status", "n[1-2]", 1)],
    "relay": [
        ("relay", "--allow-root", "--broker", "amqp://a:b@127.0.0.1/", "--cluster", HOSTILE, 2),
        ("relay", HOSTILE, 2),
    ],
    "route": [("route", "softQuotaExceeded", f"filesetName={HOSTILE}", 0), ("route", "@folder/event.json", 0)],
    "router": [("--settings", HOSTILE, "router", 2)],
    "schema": [("schema", HOSTILE, 2), ("quiet", "schema", "event", 0)],
    "services add": [("services", "add", HOSTILE, "--on", "disk", 2), ("services", "add", "a", "--on", HOSTILE, 2)],
    "services apply": [("services", "apply", 1)],
    "services list": [("services", "list", 0)],
    "services missed": [("services", "missed", HOSTILE, 2)],
    "services pause": [("services", "pause", HOSTILE, 2)],
    "services plan": [("services", "plan", 1)],
    "services remove": [("services", "remove", HOSTILE, 1)],
    "services replay": [("services", "replay", HOSTILE, "--missed", 2)],
    "services resume": [("services", "resume", HOSTILE, 2)],
    "services rotate": [("services", "rotate", HOSTILE, 2)],
    "services show": [("services", "show", HOSTILE, 2)],
    "services status": [("services", "status", 1)],
    "settings": [("settings", 0)],
    "silences add": [("silences", "add", "--where", "true", "--until", HOSTILE, "--comment", "x", 2)],
    "silences expire": [("silences", "expire", HOSTILE, 1)],
    "silences list": [("silences", "list", 0)],
    "status": [("status", 1), ("quiet", "status", "--nagios", 2)],
    "subscriptions list": [("quiet", "subscriptions", "list", 0), ("subscriptions", "list", "--file", HOSTILE, 2)],
    "subscriptions show": [("subscriptions", "show", HOSTILE, 2), ("quiet", "subscriptions", "show", "act", 0)],
    "subscriptions resume": [("subscriptions", "resume", HOSTILE, "--comment", HOSTILE, 1)],
    "subscriptions remove": [("subscriptions", "remove", HOSTILE, 1)],
    "tail": [("tail", "--since", "1h", "--no-follow", 0)],
    "up": [("up", HOSTILE, 2)],
    "webhooks key": [("webhooks", "key", f"/{HOSTILE}/x", 1)],
    "webhooks public": [("webhooks", "public", f"/{HOSTILE}/x", 1)],
    "why": [("why", EVENT, 0), ("quiet", "why", HOSTILE, 2)],
}


def commands():
    """Return all commands, and whether each has `--json`."""
    found = {}
    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None) or {"": command}
        for below, each in inner.items():
            found[f"{name} {below}".strip()] = any("--json" in parameter.opts for parameter in each.params)
    return found


COMMANDS = commands()


class Site:
    """A site where all that can be hostile is: store, records, jobs, history, what commands and nodes answer."""

    def __init__(self, folder, url, terminals):
        self.folder, self.url, self._terminals = folder, url, terminals
        self._file = folder / "clusterbus.yaml"
        self.event = make_event(EVENT, filesetName=HOSTILE, time=f"{NOW:%Y-%m-%dT%H:%M:%S}.000000000Z")
        (folder / "event.json").write_bytes(self.event.to_json())
        (folder / "subscriptions.yaml").write_text(FILE)
        (folder / HOSTILE / "sub").mkdir(parents=True)
        self._settings()
        self._store()
        self._jobs()
        self._history()
        terminals.pipe(self.words(("facts", "read", 1), as_json=False)[0], {}, folder / "output")

    def _settings(self):
        run = answering(Cluster.create(self.folder / "state", nodes=3, name="prod", file_systems=("gpfs1",)))
        names = (["mmlscluster"], ["mmgetstate", "-a"], ["mmlsmgr"], ["mmlsfs", "all"], ["mmlsnodeclass", "--user"])
        answers = {words[0]: run([*words, "-Y"]) for words in names}
        foreign = CallbackState(
            identifier="site", command=HOSTILE.replace("\r", "").replace("\u2028", ""), events=("mount",)
        )
        ours = foreign.model_copy(
            update={"identifier": "clusterbus-x", "command": "/usr/libexec/clusterbus/capture-gpfs"}
        )
        listed = {**answers, "mmlscallback": callbacks_for_people([foreign, ours])}
        for folder, known in (("bin", answers), ("listed", listed)):
            (self.folder / folder).mkdir()
            for name in {*known, "mmlscallback", "mmlsdisk", "mmlsfileset", "mmaddcallback", "mmdelcallback"}:
                self._program(self.folder / folder / name, known.get(name))
        self._program(self.folder / "control", None)
        self._program(self.folder / "python3", json.dumps({"error": HOSTILE}))
        for node in ("n1", "n2"):
            (self.folder / "secrets" / node).mkdir(parents=True)
            (self.folder / "secrets" / node / "password").write_text("of a test\n")
            (self.folder / "secrets" / node / "password").chmod(0o600)
        self.settings = {
            "broker": {"url": self.url, "control": str(self.folder / "control")},
            "consumers": {
                "subscriptions": str(self.folder / "subscriptions.yaml"),
                "store": f"sqlite:///{self.folder}/store.db",
                "jobs": str(self.folder / "jobs"),
                "callbacks": str(self.folder / "callbacks"),
                "transport": "local",
            },
            "facts": {"store": f"sqlite:///{self.folder}/facts.db"},
            "gpfs": {"commands": str(self.folder / "bin"), "memory": str(self.folder / "gpfs.json")},
            "nodes": {
                "transport": "local",
                "root": f"{self.folder}/nodes/{{node}}",
                "python": str(self.folder / "python3"),
                "secrets": str(self.folder / "secrets"),
                "relay": {"cluster": "prod", "broker": "amqps://mq1.example/clusterbus"},
            },
            "qube": {"owner": HOSTILE},
            "router": {"state": f"sqlite:///{self.folder}/router.db"},
            "shim": {"spool": str(self.folder / "spool")},
        }
        self._file.write_text(yaml.safe_dump(self.settings))
        self._listed = self.folder / "listed.yaml"
        gpfs = {**self.settings["gpfs"], "commands": str(self.folder / "listed")}
        self._listed.write_text(yaml.safe_dump({**self.settings, "gpfs": gpfs}))

    def _program(self, path, answer):
        """Put a program there that prints *answer*; without one it fails, and says something hostile."""
        path.with_suffix(".txt").write_text(HOSTILE + "\n" if answer is None else answer)
        to, code = (" >&2", 1) if answer is None else ("", 0)
        path.write_text(f"#!/bin/sh\ncat {path}.txt{to}\nexit {code}\n")
        path.chmod(0o755)

    def _store(self):
        delivery = make_delivery(self.event, "act")
        attempt = Attempt(delivery, "me", "digest", NOW, NOW, DeadLetter(HOSTILE, {HOSTILE: HOSTILE}))
        facts = {"event": HOSTILE, "subscription": HOSTILE, "topic": self.event.topic, "reason": HOSTILE, "headers": {}}
        fields = {"attempt": 1, "exchange": "", "body": self.event.to_json(), "kept_at": NOW, "event_id": EVENT}
        plan = json.dumps({"command": ["x", HOSTILE]}, ensure_ascii=False)
        with Store(self.settings["consumers"]["store"]) as store, store.writing() as transaction:
            attempts.claim(transaction, [(attempt, "")])
            attempts.record(transaction, [attempt])
            letters.keep(
                transaction, [Letter(id=LETTER, kind="delivery", **{**facts, **fields, "subscription": "act"})]
            )
            letters.keep(
                transaction, [Letter(id="1" * 16, kind="record", **facts, **{**fields, "body": HOSTILE.encode()})]
            )
            approvals.ask(
                transaction, Approval("123456789abc", EVENT, HOSTILE, HOSTILE, plan, NOW, NOW + timedelta(days=1))
            )
            breakers.write(transaction, [Breaker(HOSTILE, 5, NOW + timedelta(hours=1), NOW, HOSTILE)], NOW)
            where = (HOSTILE, "true", HOSTILE, HOSTILE, NOW, NOW + timedelta(days=1))
            texts = dict.fromkeys(("rule", "cluster", "node", "nodes", "summary", "by", "comment", "owner"), HOSTILE)
            keep(transaction, alert_row(**texts, about=((HOSTILE, HOSTILE),)))
            silences.add(transaction, Silence("01M7XDHD6YFQKHXD9TJAAEFMZ9", *where))

    def _jobs(self):
        jobs = Jobs(self.folder / "jobs")
        jobs.make()
        about = {"subscription": HOSTILE, "type": HOSTILE, "nodes": HOSTILE, "command": [HOSTILE]}
        request = {"about": about, "asked": NOW.isoformat(), "timeout": 10, "output": 4096, "mark": "x"}
        job, _ = jobs.new("job-1", request, b"")
        job.write(RESULT, {"ended": "finished", "exit": 0, "seconds": 1.0})
        for name in (OUT, ERR):
            (job.path / name).write_text(f"a\tb\n{HOSTILE}\n")

    def _history(self):
        with Session(self.url, name="test") as session:
            session.declare(base())
        publish(self.url, [self.event])
        tap = Tap(self.url)
        wait_for(lambda: tap.count(HISTORY), 20, "the event in history")
        tap.close()

    def words(self, case, as_json):
        """Return the words of a *case*, what is to be waited for, its code, and whether it shows what is hostile."""
        *words, code = case
        marks = [words.pop(0)] if words[0] in ("quiet", "@until", "@listed") else []
        file = self._listed if "@listed" in marks else self._file
        words = [each.replace("@folder", str(self.folder)) for each in words]
        settings = [] if words[0] == "--settings" else ["--settings", str(file)]
        until = "[conceal]y" if "@until" in marks else ""
        return [*settings, *words, *(["--json"] if as_json else [])], code, until, "quiet" not in marks

    def on_terminal(self, case, *, as_json=False, **environment):
        """Run a case on a terminal; return how it ended, the code that it should have, and whether it shows."""
        words, code, until, shows = self.words(case, as_json)
        return self._terminals.run(words, environment, until=until), code, shows

    def in_pipe(self, case, *, as_json=False):
        """Run a case with its output elsewhere."""
        words, code, until, shows = self.words(case, as_json)
        return self._terminals.pipe(words, {}, self.folder / "output", until=until), code, shows


@pytest.fixture(scope="module")
def site(tmp_path_factory, rabbit_admin, broker):
    vhost = f"test-{uuid4().hex[:8]}"
    rabbit_admin.add_vhost(vhost)
    try:
        with terminals() as forked:
            yield Site(tmp_path_factory.mktemp("site"), broker.vhost_url(vhost), forked)
    finally:
        rabbit_admin.delete_vhost(vhost)


def forms(command):
    """Return each case of a command, as text and where it can as JSON."""
    return [
        (case, as_json) for case in CASES[command] for as_json in ((False, True) if COMMANDS[command] else (False,))
    ]


def check(ended, code, shows):
    assert ended.code == code, ended.said
    assert ended.steering() == []
    assert "Traceback" not in ended.said
    assert not shows or SEEN.search(ended.plain), ended.said


def test_every_command_has_its_cases():
    assert sorted(CASES) == sorted(COMMANDS)


@pytest.mark.parametrize("command", sorted(CASES))
def test_on_a_terminal_what_is_hostile_is_seen_and_nothing_is_obeyed(site, command):
    for case, as_json in forms(command):
        check(*site.on_terminal(case, as_json=as_json))


@pytest.mark.parametrize("command", sorted(CASES))
def test_in_a_pipe_it_is_seen_as_well_and_there_are_no_styles(site, command):
    for case, as_json in forms(command):
        ended, code, shows = site.in_pipe(case, as_json=as_json)

        check(ended, code, shows)
        assert "\x1b" not in ended.said


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_wrong_command_line_and_help_are_shown_as_visibly(site):
    for command in COMMANDS:
        check(*site.on_terminal((*command.split(), f"--{HOSTILE}", 2)))
        if command != "relay":
            check(*site.on_terminal(("quiet", *command.split(), "--help", 0)))


@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "TERM=dumb"])
@pytest.mark.parametrize("command", ["dead list", "doctor", "tail", "why"])
def test_who_wants_no_styles_gets_none_not_in_log_lines_either(site, command, wish):
    case = CASES[command][0]

    assert OURS.search(site.on_terminal(case)[0].said)
    assert "\x1b" not in site.on_terminal(case, **wish)[0].said


def test_ids_are_whole_on_a_narrow_terminal_and_cells_are_separated_by_tabs_elsewhere(site):
    words, *_ = site.words(("deliveries", 0), False)

    narrow = site._terminals.run(words, {}, columns=80)
    piped, *_ = site.in_pipe(("deliveries", 0))

    assert EVENT in narrow.plain
    assert all(len(line) <= 80 for line in narrow.plain.split("\n") if "…" not in line or EVENT in line), narrow.plain
    (row,) = [line.split("\t") for line in piped.said.splitlines() if EVENT in line]
    assert row[1:5] == [EVENT, "gpfs.softQuotaExceeded", "nsd01", "act"]
