"""`clusterbus broker users` at a real broker: what it makes, what it mends, and whom it leaves alone."""

import json
import re
import shutil
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pika
import pika.exceptions
import pytest
import typer
from typer.testing import CliRunner

from consumers.programs.readiness import wait_served
from consumers.store.alerts import alerts, outbox
from consumers.store.database import Store
from router.broker import topology as names
from router.broker.session import Session
from router.broker.users.admin_clients import Control, Observer
from router.broker.users.drift import Definitions, Grants, commands
from router.broker.users.management_api import Management
from router.broker.users.password_files import Passwords
from router.broker.users.permissions import Role, User
from router.broker.users.provisioning import Granting, Wanted, programs
from router.broker.users.refusing_queues import RefusingQueue, refusing
from router.cli.broker.users import users
from router.errors import BrokerError, Refused, SettingsError, Unreachable
from router.local_broker.rabbitmq_node import PrivateNode, installed_server
from router.settings.loading import load
from tests.flow import AUDIT, CAPTURE, Running, audited
from tests.rabbit import RabbitAdmin, SharedBroker, Tap
from tests.waiting import wait_for

LIMIT = 60

app = typer.Typer()
app.command("users")(users)


@app.callback()
def root(context: typer.Context, settings: Annotated[Path, typer.Option()]) -> None:
    context.obj = load(settings, environment={})


@dataclass
class Site:
    """A virtual host, and what `clusterbus broker users` is told of it."""

    folder: Path
    url: str
    management: str
    password: Path
    admin: RabbitAdmin
    vhost: str
    suffix: str = ""
    said: list[str] = field(default_factory=list)

    def node(self, number: int) -> str:
        return f"nsd0{number}-{self.suffix}"

    def program(self, role: str) -> str:
        return f"{self.suffix}-{role}"

    @property
    def nodes(self) -> str:
        return f"nsd[01-02]-{self.suffix}"

    @property
    def settings(self) -> Path:
        return self.folder / "clusterbus.yaml"

    def write_settings(self, **broker: Any) -> None:
        told = {
            "broker": {
                "url": self.url,
                "prefix": self.suffix,
                "secrets": str(self.folder / "users"),
                "management": self.management,
                "management_password_file": str(self.password),
                **broker,
            },
            "nodes": {"secrets": str(self.folder / "nodes"), "relay": {"cluster": "prod"}},
        }
        # JSON is YAML.
        self.settings.write_text(json.dumps(told))

    def run(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run the command; return its JSON lines."""
        result = CliRunner().invoke(app, ["--settings", str(self.settings), "users", *words, "--json"])
        self.said += [result.stdout, result.stderr]
        if result.exception and not isinstance(result.exception, SystemExit):
            self.said.append(str(result.exception))
            raise result.exception
        assert result.exit_code == code, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def secret(self, user: str) -> str:
        (found,) = self.folder.glob(f"*/{user}/password")
        return found.read_text().rstrip("\n")

    def secrets(self) -> list[str]:
        return [path.read_text().strip() for path in self.folder.glob("*/*/password*")]

    def url_of(self, user: str) -> str:
        parts = urllib.parse.urlsplit(self.url)
        return parts._replace(netloc=f"{user}:{self.secret(user)}@{parts.hostname}:{parts.port}").geturl()

    def connect(self, user: str, password: str | None = None) -> pika.BlockingConnection:
        parameters = pika.URLParameters(self.url)
        parameters.credentials = pika.PlainCredentials(user, password or self.secret(user))
        return pika.BlockingConnection(parameters)

    def publish(self, user: str, key: str, exchange: str = names.INGRESS) -> None:
        connection = self.connect(user)
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(exchange, key, b"{}", pika.BasicProperties(user_id=user), mandatory=True)
        finally:
            if connection.is_open:
                connection.close()

    def granting(self) -> Granting:
        """What the command does it with."""
        ours = programs(self.suffix)
        wanted = Wanted((self.node(1), self.node(2)), ours, self.vhost, "prod")
        return Granting(wanted, Passwords(self.folder / "nodes"), Passwords(self.folder / "users"))

    def unguarded(self) -> list[str]:
        """Who could use keys that are not theirs at this moment: rights to a topic exchange, and no row for it."""
        found = self.admin.call("GET", "definitions")
        exchanges = {each["name"] for each in found["exchanges"] if each["vhost"] == self.vhost}
        rows = {(row["user"], row["exchange"]) for row in found["topic_permissions"] if row["vhost"] == self.vhost}
        consumer = self.program("consumer")
        wanted = [(self.node(1), names.INGRESS), (self.node(2), names.INGRESS)]
        wanted += [(consumer, names.EVENTS), (consumer, names.OWN_EVENTS)]
        return [
            each["user"]
            for each in found["permissions"]
            for user, exchange in wanted
            if each["user"] == user
            and exchange in exchanges
            and re.search(each["write"], exchange)
            and (user, exchange) not in rows
        ]

    def there(self) -> dict[str, Any]:
        """What the broker has of our users."""
        found = self.admin.call("GET", "definitions")
        ours = {each["name"]: each for each in found["users"] if self.suffix in each["name"]}
        for kind in ("permissions", "topic_permissions"):
            for each in found[kind]:
                if each["user"] in ours:
                    ours[each["user"]].setdefault(kind, []).append(each)
        return ours


class Watched:
    """An administrator, and who could use others' keys after each thing that it did."""

    def __init__(self, site: Site) -> None:
        self._site, self.seen = site, []
        self._real = Management(site.management, site.password)

    def definitions(self) -> Definitions:
        return self._real.definitions()

    def add(self, wanted: Definitions) -> None:
        self._real.add(wanted)
        self.seen.append(self._site.unguarded())

    def remove(self, users: Sequence[str]) -> None:
        self._real.remove(users)


@pytest.fixture
def site(tmp_path: Path, broker: SharedBroker, rabbit_admin: RabbitAdmin, vhost: str) -> Iterator[Site]:
    parts = urllib.parse.urlsplit(broker.http_url)
    password = tmp_path / "administrator"
    password.write_text(f"{urllib.parse.unquote(parts.password or 'guest')}\n")
    password.chmod(0o600)
    management = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    site = Site(
        tmp_path, broker.vhost_url(vhost), management, password, rabbit_admin, vhost, vhost.removeprefix("test-")
    )
    site.write_settings()
    yield site
    for user in site.there():
        rabbit_admin.delete_user(user)
    secrets = [*site.secrets(), password.read_text().strip()]
    assert not [each for each in site.said if any(len(secret) > 8 and secret in each for secret in secrets)]


@pytest.fixture
def set_up(site: Site) -> Site:
    """Users are there, and the topology, by the operator's."""
    site.run(site.nodes, "--apply")
    with Session(site.url_of(site.program("operator")), name="clusterbus broker setup") as session:
        session.declare(names.base())
    return site


def environments() -> Iterator[list[str]]:
    for each in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            yield each.read_text(errors="replace").split("\0")


def does(lines: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line["does"], []).extend(line.get("users", line.get("exchanges")))
    return found


def refused(call: Callable[[], Any]) -> bool:
    with pytest.raises((pika.exceptions.ChannelClosedByBroker, pika.exceptions.AMQPConnectionError)):
        call()
    return True


def test_nothing_is_touched_until_it_is_applied_and_then_nothing_is_left_to_do(site: Site):
    everybody = {site.node(1), site.node(2), *(site.program(each) for each in ("router", "consumer", "operator"))}
    all_of_it = everybody | {names.INGRESS, *(each.name for each in names.event_exchanges().exchanges)}

    assert set(does(site.run(site.nodes))["add"]) == all_of_it
    assert (site.there(), site.secrets()) == ({}, [])

    assert set(does(site.run(site.nodes, "--apply"))["add"]) == all_of_it
    there, secrets = site.there(), site.secrets()
    assert set(there) == everybody

    assert set(does(site.run(site.nodes, "--apply"))["keep"]) == everybody
    assert set(does(site.run(site.nodes))["keep"]) == everybody
    assert (site.there(), site.secrets()) == (there, secrets)


def test_a_virtual_host_that_is_not_there_is_made_and_nobody_has_rights_before_topic_rows(site: Site):
    site.admin.delete_vhost(site.vhost)

    site.run(site.nodes, "--apply")

    with Session(site.url_of(site.program("operator")), name="clusterbus broker setup") as session:
        session.declare(names.base())
    me = site.node(1)
    site.publish(me, f"gpfs.prod.mount.{me}")
    assert refused(lambda: site.publish(me, f"gpfs.prod.mount.{site.node(2)}"))
    assert set(does(site.run(site.nodes))) == {"keep"}


def test_a_node_that_was_applied_publishes_its_own_records_and_nothing_else(set_up: Site):
    me, other = set_up.node(1), set_up.node(2)

    set_up.publish(me, f"gpfs.prod.mount.{me}")

    assert refused(lambda: set_up.publish(me, f"gpfs.prod.mount.{other}"))
    assert refused(lambda: set_up.publish(me, f"gpfs.test.mount.{me}"))
    assert refused(lambda: set_up.publish(me, f"gpfs.prod.x.mount.-.{me}", names.EVENTS))
    assert refused(lambda: set_up.publish(me, names.INGRESS, ""))
    for attempt in (
        lambda channel: channel.basic_get(names.INGRESS),
        lambda channel: channel.queue_declare("mine"),
        lambda channel: channel.queue_bind(names.INGRESS, names.EVENTS, "#"),
    ):
        connection = set_up.connect(me)
        assert refused(partial(attempt, connection.channel()))
        connection.close()


def test_what_was_changed_by_hand_is_seen_and_mended_and_nobody_else_is_touched(set_up: Site):
    me, other, router = set_up.node(1), set_up.node(2), set_up.program("router")
    before = set_up.there()
    set_up.admin.call("DELETE", "topic-permissions", set_up.vhost, me)
    set_up.admin.call("PUT", "users", other, body={"password": "known to many", "tags": ""})
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    set_up.admin.call("PUT", "permissions", set_up.vhost, router, body=rights)

    found = {line["users"][0]: line["what"] for line in set_up.run(set_up.nodes) if line["does"] == "change"}
    set_up.run(set_up.nodes, "--apply")

    assert found == {me: ["topics"], other: ["password"], router: ["rights"]}
    assert set_up.there() == before
    assert refused(lambda: set_up.publish(me, f"gpfs.prod.mount.{other}"))


def test_a_rotated_password_opens_and_the_old_one_does_not_and_connections_stay(set_up: Site):
    me, other = set_up.node(1), set_up.node(2)
    old, before = set_up.secret(me), set_up.there()
    connection = set_up.connect(me)

    lines = set_up.run("--rotate", me, "--apply")

    assert does(lines) == {"change": [me]}
    assert set_up.secret(me) != old
    connection.channel().basic_publish(names.INGRESS, f"gpfs.prod.mount.{me}", b"{}")
    connection.close()
    set_up.connect(me).close()
    with pytest.raises(BrokerError), Session(set_up.url_of(me).replace(set_up.secret(me), old), name="old"):
        pass
    assert set_up.there()[other] == before[other]
    assert f"clusterbus nodes deploy '{me}'" in set_up.said[-1]


def test_to_rotate_a_user_that_is_mistyped_makes_no_other_one(set_up: Site):
    before = set_up.there()

    said = set_up.run("--rotate", set_up.node(7), "--apply", code=2)

    assert set_up.there() == before
    assert not (set_up.folder / "nodes" / set_up.node(7)).exists()
    assert said == []
    assert f"no password of {set_up.node(7)} is here" in set_up.said[-1]


def test_a_node_that_left_loses_its_connections_its_user_and_its_password(set_up: Site):
    me, router = set_up.node(1), set_up.program("router")
    connection = set_up.connect(me)

    assert does(set_up.run("--remove", me)) == {"remove": [me]}
    set_up.connect(me).close()
    assert does(set_up.run("--remove", me, "--apply")) == {"remove": [me]}

    with pytest.raises(pika.exceptions.ConnectionClosed):
        connection.process_data_events(time_limit=20)
    assert set(set_up.there()) & {me, router} == {router}
    assert not (set_up.folder / "nodes" / me).exists()
    assert does(set_up.run("--remove", me, "--apply")) == {"gone": [me]}
    with pytest.raises(Refused, match="does not have a node's rights"):
        set_up.run("--remove", router, "--apply")


def test_somebody_elses_user_is_not_taken_over(site: Site):
    site.admin.call("PUT", "users", site.node(1), body={"password": "theirs", "tags": "monitoring"})
    before = site.there()

    with pytest.raises(Refused, match=f"{site.node(1)} exists with the tags monitoring"):
        site.run(site.nodes, "--apply")

    assert (site.there(), site.secrets()) == (before, [])


def test_definitions_that_are_imported_by_hand_in_their_order_are_what_is_applied(site: Site):
    folder = site.folder / "definitions"
    site.run(site.nodes, "--print", "definitions", "--passwords", "--to", str(folder))
    # The broker's user reads them.
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())} == {0o755, 0o644}

    documents = [json.loads(each.read_text()) for each in sorted(folder.iterdir())]
    assert not [each for each in site.secrets() if each in json.dumps(documents)]
    for each in documents:
        site.admin.call("POST", "definitions", body=each)
        assert site.unguarded() == []

    assert set(does(site.run(site.nodes))) == {"keep"}
    assert site.run(site.nodes, "--print", "definitions") == documents


@pytest.mark.long
@pytest.mark.skipif(installed_server() is None, reason="only the installed server sees our folder; compose has others")
def test_a_broker_that_starts_with_the_printed_definitions_has_what_is_applied(site: Site):
    folder = site.folder / "definitions"
    site.run(site.nodes, "--print", "definitions", "--passwords", "--to", str(folder))

    with PrivateNode(config=[f"load_definitions = {folder}"]) as broker:
        rights = broker.ctl("list_permissions", "-p", site.vhost)
        rows = broker.ctl("list_topic_permissions", "-p", site.vhost)

    assert all(each in rights and each in rows for each in (site.node(1), site.node(2), site.program("consumer")))


@pytest.mark.parametrize("form", ["commands", "definitions"])
def test_printing_creates_no_password_unless_it_is_asked_to(site: Site, form: str):
    site.run(site.nodes, "--print", form, code=0 if form == "commands" else 1)

    assert site.secrets() == []
    assert "create them" in site.said[-1]
    site.run(site.nodes, "--print", form, "--passwords")
    kept = site.secrets()
    site.run(site.nodes, "--print", form, "--passwords")
    assert (len(kept), site.secrets()) == (5, kept)


def test_nobody_has_rights_without_a_topic_row_at_any_moment(site: Site):
    site.run(site.nodes, "--apply")
    # RabbitMQ 4.3 deletes the rows with the exchange, and the rights stay.
    site.admin.call("DELETE", "exchanges", site.vhost, names.INGRESS)
    site.admin.call("DELETE", "topic-permissions", site.vhost, site.program("consumer"))
    watched = Watched(site)
    granting = site.granting()

    granting.apply(watched)

    assert watched.seen == [[], [], []]
    assert [each.does for each in granting.planned().changes(site.admin.call("GET", "definitions"))] == ["keep"] * 5


def test_an_exchange_where_topic_rows_have_no_effect_gives_nobody_rights(site: Site):
    site.admin.call("PUT", "exchanges", site.vhost, names.INGRESS, body={"type": "fanout", "durable": True})

    with pytest.raises(Refused, match="ingress exists as a fanout exchange"):
        site.run(site.nodes, "--apply")

    assert (site.there(), site.secrets()) == ({}, [])


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"management": "http://admin@127.0.0.1:9"}, Unreachable, "127.0.0.1:9 does not answer"),
        ({"management": "http://nobody@{place}"}, Refused, "does not accept nobody as an administrator"),
        ({"management": "http://admin:in-the-open@{place}"}, SettingsError, "management_password_file"),
        ({"management": "ftp://admin@{place}"}, SettingsError, "is not https://ADMINISTRATOR@HOST"),
        ({"management_password_file": "/nowhere/password"}, SettingsError, "management_password_file: .*No such file"),
        ({"management": None, "control": ["/nowhere/ctl"]}, Unreachable, "set broker.control or broker.management"),
        ({"management": None, "control": ["false"]}, Refused, "false export_definitions ended with 1"),
    ],
    ids=["closed", "stranger", "password", "scheme", "no-file", "no-control", "failing-control"],
)
def test_what_cannot_be_asked_is_named_and_nothing_is_made(site: Site, settings: dict[str, Any], error, words: str):
    place = urllib.parse.urlsplit(site.management).netloc.rpartition("@")[2]
    site.write_settings(**{n: v.format(place=place) if isinstance(v, str) else v for n, v in settings.items()})

    with pytest.raises(error, match=words) as failed:
        site.run(site.nodes, "--apply")

    assert "in-the-open" not in str(failed.value)
    assert (site.there(), site.secrets()) == ({}, [])


def test_without_a_broker_to_ask_the_plan_says_so_and_is_what_is_wanted(site: Site):
    site.write_settings(management=None, control=["/nowhere/ctl"])

    assert list(does(site.run(site.nodes))) == ["add"]
    assert "not compared with the users at the broker" in site.said[-1]


def test_the_cluster_itself_says_which_nodes_there_are_and_who_left(set_up: Site):
    me, other = set_up.node(1), set_up.node(2)
    header = "mmlscluster:clusterNode:HEADER:version:reserved:reserved:nodeNumber:daemonNodeName:ipAddress"
    rows = (
        f"{header}:adminNodeName:designation:\nmmlscluster:clusterNode:0:1:::1:{me}.x:10.0.0.1:{me.upper()}.x:quorum:\n"
    )
    program = set_up.folder / "bin" / "mmlscluster"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nprint({rows!r}, end='')\n")
    program.chmod(0o755)
    told = json.loads(set_up.settings.read_text()) | {"gpfs": {"commands": str(program.parent)}}
    set_up.settings.write_text(json.dumps(told))

    lines = set_up.run()

    assert me in does(lines)["keep"]
    assert other not in does(lines)["keep"]
    assert f"{other}: no longer in the cluster; remove them with --remove '{other}'" in set_up.said[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--print", "commands", "--apply"],
        ["--to", "x"],
        ["--rotate", "nsd01", "--certificates"],
        ["nsd01", "--rotate", "n2"],
    ],
    ids=["print-apply", "to", "rotate-certificates", "rotate-others"],
)
def test_options_that_contradict_one_another_are_refused(site: Site, words: list[str]):
    site.run(*words, code=2)


@pytest.mark.parametrize("word", ["nsd01;id", "$(id)", "../etc", "-x", "[", "nsd_01"])
def test_what_is_no_node_makes_no_user_and_no_file(site: Site, word: str):
    with pytest.raises(SettingsError):
        site.run("--apply", "--", word)

    assert [each.name for each in site.folder.iterdir() if each.is_dir()] == []


# A dozen rabbitmqctl, each an Erlang of its own: one to two seconds, and longer beside other tests.
@pytest.mark.long
@pytest.mark.timeout(300)
def test_rabbitmqctl_does_it_too_and_what_is_printed_runs(site: Site, rabbitmqctl: list[str]):
    me, secret = site.node(1), "pass word$(id)"
    file = site.folder / "a password"
    file.write_text(f"{secret}\n")
    grants = Grants((User(me, Role.NODE, secret),), site.vhost, "prod")
    control = Control(rabbitmqctl)

    lines = commands(grants, {me: file}, rabbitmqctl)
    for line in lines:
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        assert secret not in line + done.stdout + done.stderr
    present = control.definitions()
    assert [each.does for each in grants.changes(present)] == ["keep"]
    site.connect(me, secret).close()

    site.admin.call("DELETE", "topic-permissions", site.vhost, me)
    assert grants.unguarded(control.definitions()) == [me]
    for step in grants.steps(control.definitions()):
        control.add(step)
    assert [each.does for each in grants.changes(control.definitions())] == ["keep"]
    control.remove([me])
    assert me not in site.there()
    nobody = {"permissions": [{"user": me, "vhost": site.vhost, "configure": "", "write": "", "read": ""}]}
    with pytest.raises(Refused, match=r"refuses the import: .*no_such_user"):
        control.add(nobody)


def test_a_broker_that_rabbitmqctl_does_not_reach_is_named_on_one_line(site: Site, rabbitmqctl: list[str]):
    elsewhere = "RABBITMQ_NODENAME=nowhere@localhost"
    at, words = (3, ["-e", elsewhere]) if rabbitmqctl[0] == "docker" else (len(rabbitmqctl) - 1, [elsewhere])
    site.write_settings(management=None, control=[*rabbitmqctl[:at], *words, *rabbitmqctl[at:]])

    site.run(site.nodes)

    (line,) = [each for each in site.said[-1].splitlines() if each.startswith("not compared")]
    assert "unable to perform an operation on node 'nowhere@localhost': epmd reports" in line
    assert len(site.said[-1].splitlines()) == 1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_rabbitmqctl_and_the_management_api_see_the_same_queues_that_refuse(
    site: Site, rabbitmqctl: list[str], vhost_url: str, tap: Tap
):
    with Session(vhost_url, name="test") as session:
        session.declare(names.base() + names.subscription("audit", ["#"]))
    refuses = {"x-max-length-bytes": 1, "x-overflow": "reject-publish"}
    tap.channel.exchange_declare("theirs", "fanout")
    tap.channel.exchange_bind("theirs", names.EVENTS, "gpfs.#")
    for queue, exchange, exclusive in (("full", "theirs", False), ("gone soon", names.EVENTS, True)):
        tap.channel.queue_declare(queue, exclusive=exclusive, arguments=refuses)
        tap.channel.queue_bind(queue, exchange, "caf\xe9")
    tap.channel.queue_declare("elsewhere", arguments=refuses)
    tap.publish("", "full", b"x")
    site.admin.call(
        "PUT", "policies", site.vhost, "p", body={"pattern": "audit", "definition": {"max-length": 9}, "priority": 1}
    )
    operators = {"pattern": "audit", "definition": {"max-length": 7}, "apply-to": "queues"}
    site.admin.call("PUT", "operator-policies", site.vhost, "o", body=operators)

    def found(observer: Observer) -> list[RefusingQueue]:
        return refusing(observer.queues(site.vhost), observer.bindings(site.vhost), observer.definitions(), site.vhost)

    expected = [
        RefusingQueue("full", names.EVENTS, False, 1, "octets", None, True),
        RefusingQueue("gone soon", names.EVENTS, False, 1, "octets", None, False),
        RefusingQueue(names.queue_of("audit"), names.OWN_EVENTS, True, 7, "messages", "o", False),
    ]
    assert found(Control(rabbitmqctl)) == expected
    management = Management(site.management, site.password)

    def agrees() -> bool:
        try:
            return found(management) == expected
        except Refused:  # it answers with an error where another test deletes a vhost meanwhile
            return False

    # Its counts are some seconds old.
    wait_for(agrees, 30, "the same by the API")


@pytest.fixture
def rabbitmqctl(broker: SharedBroker, rabbit_admin: RabbitAdmin) -> list[str]:
    """The words that run rabbitmqctl for the shared broker."""
    name = rabbit_admin.call("GET", "overview")["node"]
    host = name.partition("@")[2]
    if broker.kind == "container":
        return ["docker", "exec", "-i", host, "rabbitmqctl"]
    if broker.kind == "given":
        pytest.skip("only the host of a given broker has its rabbitmqctl")
    # Its own environment says where its folder, its cookie and its epmd are.
    mark = f"RABBITMQ_NODENAME={name}"
    kept = [
        each
        for each in next(filter(lambda each: mark in each, environments()))
        if each.startswith(("RABBITMQ_", "ERL_", "HOME=", "PATH=", "LANG="))
    ]
    server = installed_server()
    assert server is not None
    env = shutil.which("env")
    assert env is not None
    return [env, "-i", *kept, str(server.with_name("rabbitmqctl"))]


def published_alerts(folder: Path) -> list[str]:
    """Return the rules of open alerts, once all their changes are published."""
    with Store(f"sqlite:///{folder / 'store.db'}") as store, store.reading() as transaction:
        waits = outbox.oldest_unpublished(transaction)
        return [] if waits else [each.rule for each in alerts.select(transaction)]


@pytest.mark.timeout(100)
def test_the_real_programs_run_with_their_users_and_nothing_more(set_up: Site, tmp_path: Path):
    me = set_up.node(1)
    subscriptions, spool = tmp_path / "subscriptions.yaml", tmp_path / "spool"
    subscriptions.write_text(AUDIT)
    for name in ("tmp", "new", "bad", "kept"):
        (spool / name).mkdir(parents=True)
    parts = urllib.parse.urlsplit(set_up.url)

    def url(user: str) -> str:
        return parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}").geturl()

    def program(role: str, command: str) -> Running:
        user = set_up.program(role)
        environment = {
            "CLUSTERBUS_BROKER": url(user),
            "CLUSTERBUS_BROKER_PASSWORD_FILE": str(set_up.folder / "users" / user / "password"),
            "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path / 'router.db'}",
            "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(subscriptions),
        }
        return Running(command, [sys.executable, "-m", "consumers.cli.main", command], environment, tmp_path)

    relay = [sys.executable, "-m", "shim.relay", "--spool", str(spool), "--node", me, "--cluster", "prod"]
    relay += ["--broker", url(me), "--password-file", str(set_up.folder / "nodes" / me / "password")]
    relay += ["--allow-root", "--run", str(tmp_path)]
    running = [program("router", "router"), program("consumer", "consume"), Running("relay", relay, {}, tmp_path)]
    try:
        for each in running:
            each.start()
        capture = [sys.executable, "-IS", str(CAPTURE), "--spool", str(spool), "--node", me, "gpfs", "mount"]
        wait_served(set_up.url, ["audit"])
        assert subprocess.run([*capture, "--fsName", "gpfs1"], check=False, timeout=LIMIT).returncode == 0
        wait_for(lambda: "gpfs.mount" in [each.event for each in audited(tmp_path)], LIMIT, "the audit has it")
        assert subprocess.run([*capture[:-1], "quorumLoss"], check=False, timeout=LIMIT).returncode == 0
        wait_for(lambda: published_alerts(tmp_path) == ["quorum-lost"], LIMIT, "the alert is published")
        wait_for(lambda: not list((spool / "new").iterdir()), LIMIT, "the record is confirmed")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(each.words() for each in running)) from None
    finally:
        for each in running:
            each.kill()
    for each in running:
        text = each.log.read_text()
        assert text.count("\n") <= 5, text
        assert not re.search(r'level(=|": ")(warning|error|critical)', text), text
