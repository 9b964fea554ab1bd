"""The sections of the settings and their fields.  Give secrets by reference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .field_types import (
    DEFAULTS,
    ONE_OR_SEVERAL,
    SECRET,
    Duration,
    Folders,
    ListenAddress,
    Names,
    Weeks,
    Words,
)
from .secret_references import Address
from .sections import default_places
from .sections.alerts_section import AlertsSettings
from .sections.default_places import CONSUMER
from .sections.logins import BrokerSettings, ProgramLogin
from .sections.owner_row import OwnerRow
from .sections.router_section import RouterSettings
from .sections.section import Section


class HistorySettings(Section):
    """How much history, the stream of all events, keeps."""

    age: Duration = timedelta(days=30)
    """How long to keep events."""
    size: int = 20_000_000_000
    """The largest size in octets."""


class Contact(Section):
    """People to notify: the URLs of their services in apprise's format, by reference."""

    urls: Annotated[tuple[Address, ...], Field(min_length=1, max_length=10), ONE_OR_SEVERAL]
    """One or several addresses."""
    format: Literal["text", "html", "markdown"] = "text"
    """The format that the service receives: plain text, HTML, or Markdown."""

    description: str = ""
    """A text for people."""


class ConsumersSettings(Section):
    """The subscriptions, their handlers and contacts, and what consumers keep."""

    broker: ProgramLogin = DEFAULTS
    """Who consumers log in as at the broker; by default the user in `broker.url`."""
    subscriptions: Path = Path("/etc/clusterbus/subscriptions.yaml")
    """The file or folder of subscriptions."""
    store: Annotated[str, SECRET] = default_places.database(CONSUMER, "store.db")
    """The database of deliveries, letters and the audit, as a URL of SQLite or PostgreSQL."""
    handlers: Folders = (Path("/etc/clusterbus/handlers"),)
    """Folders of the modules that `call` names, in addition to installed ones."""
    actions: Folders = (Path("/etc/clusterbus/actions"),)
    """Files and folders of actions, in addition to those that are shipped; the default folder may be absent."""
    destroy: Names = frozenset()
    """The actions of class destroy that may run here."""
    jobs: Path = default_places.path(CONSUMER, "jobs")
    """Folder of commands that run detached; only the consumer's user may read it."""
    keep_jobs: Duration = timedelta(days=30)
    """How long to keep the folders of jobs that have ended."""
    keep_audit: Duration = timedelta(days=400)
    """How long to keep the events of the audit; its oldest events are deleted in whole segments of 200."""

    keep_deliveries: Weeks = timedelta(days=90)
    """How long to keep attempts that have ended: they show which deliveries are done."""

    keep_alerts: Duration = timedelta(days=400)
    """How long to keep alerts after they were closed, with all their changes."""

    keep_letters: Duration = timedelta(days=90)
    """How long to keep letters after they were replayed or dropped; letters that wait for a decision stay."""

    keep_size: Annotated[int, Field(ge=100_000_000)] = 20_000_000_000
    """The size in octets beyond which a store on SQLite deletes what is older than a week before its time.

    The audit does not count, and stays: no flood of other rows may delete it.
    """

    keep_audit_size: Annotated[int, Field(ge=100_000_000)] = 20_000_000_000
    """The size in octets beyond which the audit loses what is older than a week before its time, with a warning."""

    callbacks: Path = Path("/var/lib/clusterbus/callbacks")
    """Where `consumers.gpfs.Callback` keeps Python functions, and the subscriptions that call them."""

    transport: Literal["ssh", "pdsh", "local", "record"] = "ssh"
    """How to reach nodes: by ssh, or by pdsh where that is installed.

    `local` runs each node's command here, `record` only writes it to the file *recorded*.
    """
    recorded: Path = default_places.path(CONSUMER, "recorded.jsonl")
    """The file of commands that `transport: record` did not run."""
    ssh: str = "ssh"
    """The program that runs commands on nodes."""
    ssh_options: Words = ()
    """Additional options of that program."""
    pdsh: str = "pdsh"
    """The program of `transport: pdsh`."""
    pdsh_options: Words = ("-R", "ssh")
    """Its options: by default, it reaches nodes by ssh."""
    contacts: Annotated[
        Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")], Contact], SECRET
    ] = {}
    """The people and services that `notify` may name."""
    owners: tuple[OwnerRow, ...] = ()
    """Who is responsible for what: the contacts that `owner` stands for; the most specific row wins."""
    alert_link: Annotated[str, Field(pattern=r"^(https?://[!-~]{1,500})?$")] = ""
    """The page of an alert for notifications, such as https://bus.example.com/alerts/{alert}, with its id there."""

    job_progress: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = None
    """How often to publish the event `jobProgress` for a command whose nodes begin or end; by default, never."""
    done_events: bool = False
    """Whether to publish the event `deliveryDone` for deliveries of all verbs but `log`."""
    metrics: ListenAddress = ""
    """Where to answer `/metrics`, `/healthz` and `/readyz`, such as 127.0.0.1:9465; nothing means nowhere."""
    alerts: AlertsSettings = DEFAULTS


class ServicesSettings(Section):
    """Services: programs of other teams, each with a queue and a broker user of its own."""

    folder: Path = Path("/etc/clusterbus/services")
    """The folder of the files that say which services are wanted; it may be absent."""
    secrets: Path = Path("/etc/clusterbus/secrets/services")
    """The passwords of their broker users, each in a folder of its name."""


class ShimSettings(Section):
    """The shim of this node, for `up` and `doctor`."""

    spool: Path = Path("/var/spool/clusterbus")
    """The folder of this node's spool."""


class CallbackOptions(Section):
    """Options of mmaddcallback for one family."""

    priority: float | None = None
    """Callbacks with lower numbers run first."""
    sync: bool = False
    """Whether GPFS waits for the callback."""
    timeout: Duration | None = None
    """How long GPFS waits for it."""
    onerror: Literal["continue", "quorumLoss", "shutdown"] | None = None
    """What GPFS does if the callback fails."""
    nodes: Words = ()
    """Nodes or node classes to register on."""


class GpfsSettings(Section):
    """Which callbacks to register with GPFS, and where its commands are."""

    commands: Path = Path("/usr/lpp/mmfs/bin")
    """The folder of the mm commands."""
    limit: Duration = timedelta(minutes=5)
    """The limit for one of its commands."""

    events: Words = ("default",)
    """Families and events; `default` means the harmless ones."""

    without: Words = ()
    """Families and events not to register, and variables, such as `%reason`, not to pass."""

    parameters: Mapping[str, Words] = {}
    """Additional variables for each family; `"*"` means every family."""

    global_nodes: Words = ("quorumNodes",)
    """Nodes or node classes to register events on that all nodes report.  Local events are registered everywhere."""

    command: Path = Path("/usr/libexec/clusterbus/capture-gpfs")
    """The program that GPFS calls on each node."""
    options: Mapping[str, CallbackOptions] = {}
    """How to register a family other than asynchronously, which has risks of its own."""

    accept: Words = ()
    """Accepted risks: `sync`, `onerror`, and events that are off by default."""

    memory: Path = Path("/var/lib/clusterbus/gpfs.json")
    """What GPFS refused before, and what Python callbacks need in addition to `events`."""


class QubeSettings(Section):
    """Where to write the callbacks of a Qube supervisor."""

    callbacks: Path = Path("/usr/local/pfx/qube/callback")
    """One folder of the supervisor's `supervisor_universal_callback_path`; $QBDIR/callback is Qube's default."""

    events: Words = ("default",)
    """Families and events to write callbacks for; `default` means the usual ones."""
    without: Words = ()
    """Families and events to leave out."""
    node: str = ""
    """The supervisor's node name in its relay's settings; by default the host name's first label, as in capture."""

    owner: str = ""
    """The user that the supervisor runs as; by default the owner of the folder."""

    log: Path = Path("/var/log/clusterbus-qube.log")
    """Where callbacks log errors when syslog is not available."""


class NodesSettings(Section):
    """How to reach the nodes of the cluster to deploy the shim: as root, or with *become*."""

    transport: Literal["ssh", "local"] = "ssh"
    """`local` deploys on this machine, for each node into the folder *root*."""

    root: str = ""
    """For `local`: a folder for each node, with `{node}` in it."""

    ssh: str = "ssh"
    """The program that runs commands on nodes."""
    ssh_options: Words = ()
    """Additional options of that program."""
    become: Words = ()
    """The command that makes the user that logs in root, such as `sudo -n`."""

    fanout: Annotated[int, Field(ge=1, le=1000)] = 64
    """How many nodes are reached at once."""
    timeout: Duration = timedelta(minutes=2)
    """The limit for one node."""
    connect_timeout: Duration = timedelta(seconds=10)
    """The limit for the connection to one node."""
    python: Path = Path("/usr/bin/python3")
    """The Python that runs the shim there: 3.6 or later for capture, 3.9 or later for the relay."""

    relay: Annotated[Mapping[str, str], SECRET] = {}
    """The settings of `relay.conf`; `cluster` and `broker` are required."""

    secrets: Path = Path("/etc/clusterbus/secrets/nodes")
    """Each node's own secrets, in a folder named after the node; only root may read them."""


class FactsSettings(Section):
    """Facts of the cluster, for filters, guards and templates."""

    store: Annotated[str, SECRET] = default_places.database(CONSUMER, "facts.db")
    """The database of facts, as a URL of SQLite or PostgreSQL."""
    age: Duration = timedelta(minutes=5)
    """The age at which facts are gathered again and count as stale."""

    keep: Duration = timedelta(days=90)
    """How long to keep facts that no longer hold."""

    usage: bool = False
    """Whether to read how full pools are, and the usage of quotas: mmdf and mmrepquota cost more than the others."""

    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,100}$")] = ""
    """The name of the cluster in events, as in `relay.conf`; by default the first label of its own name."""

    limit: Duration = timedelta(seconds=30)
    """The limit for one command."""

    whole: Duration = timedelta(minutes=2)
    """The limit for all commands together."""


class Settings(Section):
    """All settings."""

    broker: BrokerSettings = DEFAULTS
    history: HistorySettings = DEFAULTS
    router: RouterSettings = DEFAULTS
    consumers: ConsumersSettings = DEFAULTS
    services: ServicesSettings = DEFAULTS
    shim: ShimSettings = DEFAULTS
    gpfs: GpfsSettings = DEFAULTS
    qube: QubeSettings = DEFAULTS
    nodes: NodesSettings = DEFAULTS
    facts: FactsSettings = DEFAULTS

    def urls(self, section: str = "") -> tuple[str, ...]:
        """Return the broker's URLs as *section*, such as "router", logs in; raises SettingsError as `broker.urls`."""
        if not section:
            return self.broker.urls()
        return self.broker.urls(getattr(self, section).broker, f"{section}.broker")
