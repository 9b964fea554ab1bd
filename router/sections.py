"""The sections of the settings, and what each may hold.  Secrets are given by reference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from . import durations
from .errors import SettingsError
from .references import Address


def _duration(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else durations.parse(str(value))


def _urls(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_urls)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
Words = Annotated[tuple[str, ...], BeforeValidator(_urls)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerSettings(_Section):
    """How to reach RabbitMQ; several URLs, separated by blanks, are the nodes of one cluster.

    For TLS the URL says `amqps://HOST/VHOST?cacertfile=...&certfile=...&keyfile=...`, in RabbitMQ's own words.
    """

    url: Urls = ("amqp://guest:guest@127.0.0.1:5672/%2F",)
    password_file: Path | None = None
    progress_limit: Duration = timedelta(seconds=30)
    patience: Duration = timedelta(seconds=15)
    """How long a command that a person waits for tries to reach it; programs try for ever."""

    control: Words = ("rabbitmqctl",)
    """What `broker users` gives users their rights by, where no *management* is set."""

    management: str | None = None
    """The management API, `https://ADMINISTRATOR@HOST:15671`; `?cacertfile=...` says whose certificates it trusts."""

    management_password_file: Path | None = None
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "clusterbus"
    """What the users of our programs are called: *prefix*`-router`, `-consumer`, `-operator`."""

    secrets: Path = Path("/etc/clusterbus/secrets/users")
    """The passwords of our programs' users, each in a folder of its name; a node's is in `nodes.secrets`."""

    def urls(self) -> tuple[str, ...]:
        """Return the URLs with the password of `password_file` put in."""
        if self.password_file is None:
            return self.url
        try:
            password = self.password_file.read_text().rstrip("\n")
        except OSError as error:
            raise SettingsError(f"broker.password_file: {error}") from error
        return tuple(_with_password(each, password) for each in self.url)


class HistorySettings(_Section):
    """How much the stream of all events keeps."""

    age: Duration = timedelta(days=30)
    size: int = 20_000_000_000


class RouterSettings(_Section):
    """How records become events."""

    state: str = "sqlite:////var/lib/clusterbus/router.db"
    window: Duration = timedelta(seconds=120)
    trusted_users: frozenset[str] = frozenset()
    silence: Duration = timedelta(minutes=3)
    keep: Duration = timedelta(days=30)


class Contact(_Section):
    """People who can be told: the addresses of their services in apprise's words, by reference."""

    urls: Annotated[tuple[Address, ...], BeforeValidator(_listed), Field(min_length=1, max_length=10)]
    format: Literal["text", "html", "markdown"] = "text"
    """What the service is given: plain text, HTML, or Markdown."""

    description: str = ""


class ConsumersSettings(_Section):
    """Who is told, and where that is written down."""

    subscriptions: Path = Path("/etc/clusterbus/subscriptions.yaml")
    store: str = "sqlite:////var/lib/clusterbus/store.db"
    handlers: Folders = (Path("/etc/clusterbus/handlers"),)
    """Where modules are found that `call` names, besides what is installed."""
    jobs: Path = Path("/var/lib/clusterbus/jobs")
    """What commands that run detached are kept in; its own user's alone."""
    keep_jobs: Duration = timedelta(days=30)
    callbacks: Path = Path("/var/lib/clusterbus/callbacks")
    """Where `consumers.gpfs.Callback` keeps Python functions and the subscriptions that call them; served besides."""

    transport: Literal["ssh", "local", "record"] = "ssh"
    """How nodes are reached: `local` runs each node's command here, `record` only writes it to the file *recorded*."""
    recorded: Path = Path("/var/lib/clusterbus/recorded.jsonl")
    ssh: str = "ssh"
    ssh_options: Words = ()
    contacts: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")], Contact] = {}


class ShimSettings(_Section):
    """Where this node's shim lives, for `up` and `doctor`."""

    spool: Path = Path("/var/spool/clusterbus")


class GpfsSettings(_Section):
    """Which callbacks are registered with GPFS, and where its commands are."""

    commands: Path = Path("/usr/lpp/mmfs/bin")
    limit: Duration = timedelta(minutes=5)
    """How long one of its commands may take."""

    events: Words = ("default",)
    """Families and events; `default` are those that do no harm."""

    without: Words = ()
    """Families and events that are not to be registered; and variables, as `%reason`, that are not to be passed."""

    parameters: Mapping[str, Words] = {}
    """More variables, by the family that gets them; `"*"` is every family."""

    global_nodes: Words = ("quorumNodes",)
    """Where events are registered that all nodes report: nodes, or node classes.  Local ones are, everywhere."""

    command: Path = Path("/usr/libexec/clusterbus/capture-gpfs")
    options: Mapping[str, CallbackOptions] = {}
    """How a family is registered where that is another way than asynchronously, at its own risk."""

    accept: Words = ()
    """The dangers that are taken: `sync`, `onerror`, and events that are off by default."""

    memory: Path = Path("/var/lib/clusterbus/gpfs.json")
    """What GPFS refused before, and what Python callbacks ask for beside `events`."""


class CallbackOptions(_Section):
    """Options of mmaddcallback for one family."""

    priority: float | None = None
    sync: bool = False
    timeout: Duration | None = None
    onerror: Literal["continue", "quorumLoss", "shutdown"] | None = None
    nodes: Words = ()


class QubeSettings(_Section):
    """Where callbacks of a Qube supervisor are written."""

    callbacks: Path = Path("/usr/local/pfx/qube/callback")
    """One folder of the supervisor's `supervisor_universal_callback_path`; $QBDIR/callback is Qube's default."""

    events: Words = ("default",)
    without: Words = ()
    node: str = ""
    """The supervisor's name as its relay has it; empty is the host name's first label, as for capture."""

    owner: str = ""
    """The user that the supervisor runs as; empty is whoever the folder belongs to."""

    log: Path = Path("/var/log/clusterbus-qube.log")
    """Where callbacks complain when syslog does not listen."""


class NodesSettings(_Section):
    """How the nodes of the cluster are reached to put the shim on them; as root there, or by *become*."""

    transport: Literal["ssh", "local"] = "ssh"
    """`local` does on this machine what each node would do, in the folder *root*."""

    root: str = ""
    """For `local`: a folder for each node, with `{node}` in it."""

    ssh: str = "ssh"
    ssh_options: Words = ()
    become: Words = ()
    """What makes whom we log in as root, such as `sudo -n`."""

    fanout: Annotated[int, Field(ge=1, le=1000)] = 64
    timeout: Duration = timedelta(minutes=2)
    connect_timeout: Duration = timedelta(seconds=10)
    python: Path = Path("/usr/bin/python3")
    """What runs the shim there: Python 3.6 or later for capture, 3.9 for the relay."""

    relay: Mapping[str, str] = {}
    """The settings of `relay.conf`; `cluster` and `broker` are needed."""

    secrets: Path = Path("/etc/clusterbus/secrets/nodes")
    """Each node's own secrets here, in a folder of its name; only root may read them."""


class FactsSettings(_Section):
    """What is known of the cluster itself, for filters, guards and templates."""

    store: str = "sqlite:////var/lib/clusterbus/facts.db"
    age: Duration = timedelta(minutes=5)
    """How old what is known may be before it is asked again, and called stale."""

    keep: Duration = timedelta(days=90)
    """How long is kept what is no more so."""

    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,100}$")] = ""
    """The cluster's word in events, as in `relay.conf`; by default the first label of its name."""

    limit: Duration = timedelta(seconds=30)
    """How long one command may take."""

    whole: Duration = timedelta(minutes=2)
    """How long all commands together may take."""


class Settings(_Section):
    """Everything that can be set."""

    broker: BrokerSettings = BrokerSettings()
    history: HistorySettings = HistorySettings()
    router: RouterSettings = RouterSettings()
    consumers: ConsumersSettings = ConsumersSettings()
    shim: ShimSettings = ShimSettings()
    gpfs: GpfsSettings = GpfsSettings()
    qube: QubeSettings = QubeSettings()
    nodes: NodesSettings = NodesSettings()
    facts: FactsSettings = FactsSettings()


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}"))
