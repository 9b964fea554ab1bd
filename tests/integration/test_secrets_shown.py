"""No output, log, error or traceback of a command or program shows a secret, nor does the command line of one."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from consumers.store import attempts
from consumers.store.database import Store
from tests import forking
from tests.consuming import make_event, publish
from tests.flow import Running, up
from tests.processes import environment
from tests.rabbit import RabbitAdmin
from tests.waiting import wait_for
from tests.webhooks import MailServer, Webhook, answering, cutting, leaving, mail_server, silent, webhook

# Each of them is in one place only, and begins with the same word.
MARK = "pl4nted"
DATABASE = f"postgresql://bus:{MARK}user1@127.0.0.1:1/bus?sslmode=disable&password={MARK}query1"
SETTINGS = f"""
broker: {{url: "amqp://router:{MARK}broker1@127.0.0.1:1/v amqp://router:{MARK}bro/ker2@127.0.0.1:1/v", patience: 1s}}
router: {{state: "{DATABASE}"}}
facts: {{store: "{DATABASE}&passwrd={MARK}query2"}}
consumers:
  store: "{DATABASE}"
  contacts:
    team: {{urls: [env:CONTACT, "file:@FOLDER@/mail"]}}
    other: {{urls: "mailto://mail.example.com?from=a@b.org&to=c@d.org"}}
nodes: {{relay: {{cluster: prod, broker: "amqps://node:{MARK}node1@mq1/v"}}}}
"""
SUBSCRIPTIONS = """
version: 1
defaults: {retry: {attempts: 1}}
subscriptions:
- {name: hook, on: softQuotaExceeded, post: {url: "file:@FOLDER@/hook", timeout: 1s, secret: "env:SIGNING",
   headers: {Authorization: "file:@FOLDER@/header"}}}
- {name: down, on: softQuotaExceeded, post: {url: "env:DOWN", timeout: 1s}}
- {name: plain, on: softQuotaExceeded, post: {url: "http://127.0.0.1:1/services/pl4nted0inline0token0123", timeout: 1s}}
- {name: people, on: softQuotaExceeded, notify: {to: [team, chat, mail], title: t, body: x, timeout: 3s}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with settings, subscriptions and files of secrets."""
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("@FOLDER@", str(tmp_path)).replace("bro/ker2", "broker2"))
    text = SUBSCRIPTIONS.replace("@FOLDER@", str(tmp_path)).replace("[team, chat, mail]", "team")
    (tmp_path / "subscriptions.yaml").write_text(text)
    secret(tmp_path, "mail", f"mailto://bus:{MARK}smtp1@mail.example.com?from=a@b.org&to=c@d.org")
    secret(tmp_path, "hook", f"https://u:{MARK}url1@127.0.0.1:1/{MARK}path0123/x?token={MARK}token1")
    secret(tmp_path, "header", f"Bearer {MARK}bearer1")
    for name in ("tmp", "new", "bad", "kept"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    return tmp_path


def secret(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    file.chmod(0o600)
    return f"file:{file}"


def settings_of(folder: Path) -> dict[str, str]:
    """Return the environment variables of a site whose files are in *folder*."""
    return {
        "CONTACT": f"jsons://u:{MARK}chat1@127.0.0.1:1/{MARK}chat02",
        "SIGNING": f"whsec_{MARK}signing0123456789abcdefghijklmnop",
        "DOWN": f"http://127.0.0.1:1/services/{MARK}down012/{MARK}down123?sig={MARK}down2",
        "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(folder / "subscriptions.yaml"),
        "CLUSTERBUS_SHIM_SPOOL": str(folder / "spool"),
    }


def said(folder: Path, *words: str, until: str = "", **more: str) -> str:
    """Return all that a command says; one that would run on is stopped once it has said *until*."""
    file = folder / f"said-{uuid4().hex}"
    command = [sys.executable, "-m", "clusterbus", *words]
    with file.open("wb") as output:
        process = forking.start(
            command, output.fileno(), environment=environment(**settings_of(folder) | more), cwd=folder
        )
    try:
        wait_for(lambda: process.poll() is not None or (until and until in seen(file)), 60, f"{words} has ended")
        process.terminate()
        process.wait(240)
        return seen(file)
    finally:
        process.kill()
        process.wait(120)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("settings", "amqp://router:***@127.0.0.1:1/v"),
        ("settings --json", "amqp://router:***@127.0.0.1:1/v"),
        ("check", "4 subscriptions"),
        ("check --json", '"subscriptions": 4'),
        ("doctor", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("doctor --json", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("route softQuotaExceeded fsName=gpfs1", "people"),
        ("route softQuotaExceeded fsName=gpfs1 --json", "people"),
        ("schema subscriptions", "properties"),
        ("broker setup", "no connection"),
        ("broker users nsd01", "rabbitmqctl"),
        ("nodes status nsd01", "has a password"),
        ("subscriptions list", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("dead list", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("facts show", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("router", "cannot be opened"),
        ("consume", "postgresql://bus:***@127.0.0.1:1/bus"),
        ("emit gpfs softQuotaExceeded", "no connection"),
    ],
)
def test_no_command_shows_a_secret_that_is_set_or_referred_to(folder: Path, words: str, expected: str) -> None:
    shown = said(folder, "--settings", "settings.yaml", "--log-level", "DEBUG", *words.split())

    assert expected in shown
    assert MARK not in shown


def test_settings_from_the_environment_are_shown_without_their_secrets(folder: Path) -> None:
    more = {
        "CLUSTERBUS_BROKER": f"amqp://u:{MARK}env1@127.0.0.1:1/v",
        "CLUSTERBUS_ROUTER_STATE": f"postgresql://127.0.0.1:1/bus?sslpassword={MARK}env2",
        "CLUSTERBUS_BROKER_MANAGEMENT": f"https://u:{MARK}env3@mq1:15671",
        "CLUSTERBUS_CONSUMERS_STORE": f"host=db password={MARK}env4",
        "CLUSTERBUS_FACTS_STORE": f"postgresql://bus:{MARK}env5",
        "CLUSTERBUS_BROKER_PATIENCE": "1s",
    }
    for words in (["settings"], ["doctor"], ["router"], ["consume"], ["broker", "users", "nsd01"], ["facts", "show"]):
        shown = said(folder, *words, **more)

        assert shown
        assert MARK not in shown


@pytest.mark.parametrize(
    "text",
    [
        f"broker: {{url: amqp://u:{MARK}@x/\nrouter: [",
        f"broker: {{url: [[{MARK}]]}}",
        f"consumers: {{contacts: {{a: {{urls: 'json://u:{MARK}@x'}}}}}}",
        f"broker: {{url: *{MARK}}}",
        f"broker: {{url: 'u:{MARK}@mq1'}}\nrouter: {{state: 'mysql://u:{MARK}@db/x?y={MARK}'}}",
        f"broker: {{url: 'amqp://u:{MARK}@mq1:{MARK}/'}}\nrouter: {{state: 'postgresql://u:{MARK}'}}",
    ],
)
def test_settings_that_are_broken_are_told_without_their_secrets(folder: Path, text: str) -> None:
    (folder / "settings.yaml").write_text(text)

    for words in (["settings"], ["check", "--json"], ["router"], ["doctor", "--part", "broker"], ["consume"]):
        shown = said(folder, "--settings", "settings.yaml", *words)

        assert shown
        assert MARK not in shown


@pytest.fixture
def keyring(folder: Path) -> dict[str, str]:
    """Variables that refer to the passwords of a site as `clusterbus init` and `broker users` keep them, in files."""
    secrets = folder / "secrets"
    for kind, name in (("users", "clusterbus-router"), ("users", "clusterbus-consumer"), ("nodes", "nsd01")):
        (secrets / kind / name).mkdir(parents=True)
        secret(secrets / kind / name, "password", f"{MARK}{name[-6:]}0123\n")
    database = secret(folder, "database", f"{MARK}database0123\n")
    return {
        "CLUSTERBUS_BROKER": "amqp://127.0.0.1:1/v",
        "CLUSTERBUS_BROKER_PATIENCE": "1s",
        "CLUSTERBUS_ROUTER_BROKER_USER": "clusterbus-router",
        "CLUSTERBUS_ROUTER_BROKER_PASSWORD_FILE": str(secrets / "users" / "clusterbus-router" / "password"),
        "CLUSTERBUS_CONSUMERS_BROKER_USER": "clusterbus-consumer",
        "CLUSTERBUS_CONSUMERS_BROKER_PASSWORD_FILE": str(secrets / "users" / "clusterbus-consumer" / "password"),
        "CLUSTERBUS_CONSUMERS_STORE": f"postgresql://bus@127.0.0.1:1/bus?password={database}",
        "CLUSTERBUS_NODES_SECRETS": str(secrets / "nodes"),
    }


@pytest.mark.parametrize(
    "words",
    [
        "settings",
        "check",
        "doctor",
        "doctor --json",
        "router",
        "consume",
        "deliveries",
        "nodes status nsd01",
        "nodes deploy --dry-run nsd01",
        "broker users nsd01",
        "broker users nsd01 --json",
        "why 01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
    ],
)
def test_no_command_shows_a_password_of_a_file(folder: Path, keyring: dict[str, str], words: str) -> None:
    state = f"sqlite:///{folder / 'router.db'}"

    text = said(
        folder, "--log-level", "DEBUG", *words.split(), until="unreachable", **keyring, CLUSTERBUS_ROUTER_STATE=state
    )

    assert text
    assert MARK not in text


def test_a_router_that_reaches_no_broker_does_not_show_its_password(folder: Path) -> None:
    state = f"sqlite:///{folder / 'router.db'}"

    shown = said(folder, "--settings", "settings.yaml", "router", until="unreachable", CLUSTERBUS_ROUTER_STATE=state)

    assert "the broker is unreachable" in shown
    assert MARK not in shown


@pytest.mark.long
def test_the_relay_shows_no_password_of_its_settings(folder: Path) -> None:
    spool = ["--spool", "spool", "--cluster", "prod", "--allow-root"]
    (folder / "broken.conf").write_text(f"[relay]\nbroker = amqp://u@h/\n{MARK}word\n")
    (folder / "unknown.conf").write_text(f"[relay]\namqp://u = x\nbroker = amqp://u:{MARK}@h/\n")
    (folder / "without.conf").write_text(f"password = {MARK}\n")
    for words in (
        [*spool, "--broker", f"amqp://u:{MARK}1@127.0.0.1:1/v"],
        [*spool, "--broker", f"amqp://u:{MARK}2@mq.example.com/v"],
        [*spool, "--broker", f"amqp://u:{MARK}/3@127.0.0.1:1/v"],
        [*spool, "--broker", f"amqp://u:12/{MARK}4@127.0.0.1:1/v"],
        [*spool, "--broker", f"amqp:u:{MARK}5@127.0.0.1:1"],
        [*spool, "--broker", f"amqp://u:12?{MARK}6@127.0.0.1:1"],
        [*spool, "--brokr", f"amqp://u:{MARK}7@127.0.0.1:1/v"],
        *([*spool, "--config", f"{name}.conf"] for name in ("broken", "unknown", "without")),
    ):
        shown = said(folder, "relay", *words, until="delay=")

        assert shown
        assert MARK not in shown, words


def test_the_relay_shows_no_password_that_is_in_the_environment(folder: Path) -> None:
    more = {"CLUSTERBUS_RELAY_BROKER": f"amqp://u:{MARK}@127.0.0.1:1/v", "CLUSTERBUS_RELAY_CLUSTER": "prod"}

    shown = said(folder, "relay", "--spool", "spool", "--allow-root", until="delay=", **more)

    assert "127.0.0.1" in shown
    assert MARK not in shown


@pytest.fixture
def broker_user(rabbit_admin: RabbitAdmin, vhost_url: str, vhost: str) -> Iterator[str]:
    """The URL of a broker user whose password is planted."""
    name, password = f"u{uuid4().hex[:8]}", f"{MARK}{uuid4().hex[:8]}"
    rabbit_admin.add_user(name, password, vhost)
    yield f"amqp://{name}:{password}@{vhost_url.rpartition('@')[2]}"
    rabbit_admin.delete_user(name)


class Consume:
    """`clusterbus consume`, with contacts at a webhook and a mail server, and what it says in files."""

    def __init__(self, folder: Path, url: str, hook: Webhook, mail: MailServer) -> None:
        self.folder, self.hook = folder, hook
        self.store = f"sqlite:///{folder / 'store.db'}"
        text = SUBSCRIPTIONS.replace("@FOLDER@", str(folder)).replace("[team, chat, mail]", "[chat, mail]")
        (folder / "subscriptions.yaml").write_text(text)
        chat = f"json://u:{MARK}json1@{hook.address}/{MARK}json02/{MARK}json03"
        more = f"&user=bus&pass={MARK}smtp2"
        contacts = {"chat": secret(folder, "chat", chat), "mail": secret(folder, "mail", mail.url(more=more))}
        secret(folder, "hook", f"http://u:{MARK}url1@{hook.address}/{MARK}path0123/x?token={MARK}token1")
        consumers = {"store": self.store, "contacts": {name: {"urls": each} for name, each in contacts.items()}}
        (folder / "consume.json").write_text(json.dumps({"broker": {"url": url}, "consumers": consumers}))

    @contextmanager
    def running(self, level: str) -> Iterator[None]:
        words = [sys.executable, "-m", "clusterbus", "--settings", str(self.folder / "consume.json")]
        words += ["--log-level", level, "consume"]
        consume = Running("consume", words, settings_of(self.folder), self.folder).start()
        try:
            yield
        finally:
            code = consume.stop()
        assert code == 0

    def ended(self) -> int:
        if not (self.folder / "store.db").exists():
            return 0
        store = Store(self.store)
        try:
            with store.reading() as transaction:
                return sum(row.outcome is not None for row in attempts.find(transaction, limit=1000))
        finally:
            store.close()


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_consumer_shows_no_secret_of_what_it_calls_whatever_comes_of_it(
    folder: Path, broker_user: str, vhost_url: str, level: str
) -> None:
    with webhook() as hook, mail_server() as mail:
        consume = Consume(folder, broker_user, hook, mail)
        echo = answering(500, f"no {MARK}token1 for /{MARK}path0123/x, {MARK}bearer1".encode(), server=f"{MARK}url1")
        with consume.running(level):
            wait_for((folder / "store.db").exists, 60, "it runs")
            for count, behave in enumerate([answering(200), echo, silent, cutting, leaving, answering(404)], 1):
                hook.behave = behave
                declared(vhost_url)
                publish(vhost_url, [make_event(name="softQuotaExceeded")])
                wait_for(lambda expected=4 * count: consume.ended() >= expected, 60, f"call {count} has ended")
    shown = {each.name: seen(each) for each in (folder / "consume.log", folder / "store.db")}

    for name, text in shown.items():
        at = text.replace(f"{MARK}0inline", "").find(MARK)
        assert at < 0, f"{name}: {text[at - 200 : at + 100]}"
    assert hook.received
    for words in (["deliveries", "--json"], ["dead", "list", "--json"], ["doctor", "--json"], ["breakers", "list"]):
        assert MARK not in said(folder, "--settings", "consume.json", *words), words


def declared(url: str) -> None:
    """Nothing is sent before the queues of all subscriptions are there."""
    from consumers.programs.readiness import wait_served  # noqa: PLC0415 - only here

    wait_served(url, ["hook", "down", "plain", "people"], tend=lambda: None)


def seen(path: Path) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return path.read_bytes().decode("utf-8", "replace")
    return ""


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(each.parent.name)] = int(each.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.long
@pytest.mark.timeout(180)
def test_no_command_line_of_what_up_starts_holds_a_secret(folder: Path, broker_user: str) -> None:
    (folder / "subscriptions.yaml").write_text("version: 1\nsubscriptions: [{name: audit, on: '#', log: {}}]\n")
    lines: set[str] = set()
    limits: dict[str, str] = {}

    def look(pid: int) -> bool:
        for each in descendants(pid):
            lines.add(line := seen(Path(f"/proc/{each}/cmdline")))
            if "clusterbus" in line or "shim.relay" in line:
                limits[line] = seen(Path(f"/proc/{each}/limits"))
        return all(word in str(lines) for word in ("consume", "router", "relay"))

    more = settings_of(folder) | {"CLUSTERBUS_BROKER": broker_user}
    with up(folder, "--folder", "everything", "subscriptions.yaml", tend=look, **more) as running:
        assert running.process is not None
        wait_for(partial(look, running.process.pid), 30, "all programs")

    assert MARK not in str(lines)
    assert MARK not in seen(running.log)
    for line, text in limits.items():
        assert "Max core file size        0 " in text, line


def test_a_password_that_goes_over_the_network_in_the_clear_is_said_by_check_and_at_each_start(folder: Path) -> None:
    word = secret(folder, "word", f"{MARK}word").removeprefix("file:")
    # No machine has this name.
    far = {"CLUSTERBUS_BROKER": f"amqp://u:{MARK}@mq.invalid/v", "CLUSTERBUS_BROKER_PATIENCE": "1s"}
    near = {"CLUSTERBUS_BROKER": f"amqp://u:{MARK}@127.0.0.1:1/v"}
    own = {"CLUSTERBUS_ROUTER_STATE": f"sqlite:///{folder / 'r.db'}"}
    relay = ["relay", "--spool", "spool", "--cluster", "prod", "--allow-root", "--password-file", word]
    said_of = {
        "check": said(folder, "check", **far),
        "doctor": said(folder, "doctor", "--part", "subscriptions", **far),
        "router": said(folder, "router", until="unreachable", **far, **own),
        "relay": said(folder, *relay, "--broker", "amqp://u@mq.invalid/v", until="delay="),
    }

    for program, text in said_of.items():
        assert text.count("without encryption") == 1, (program, text)
        assert "amqp://u@mq.invalid:5672/v" in text
        assert MARK not in text
    assert "without encryption" not in said(folder, "check", **near)
    assert "without encryption" not in said(folder, "router", until="unreachable", **near, **own)
    assert "without encryption" not in said(folder, *relay, "--broker", "amqp://u@127.0.0.1:1/v", until="delay=")
