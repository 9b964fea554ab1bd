"""Everything on this machine, in one: a broker of our own where none is set, relay, router and consumers."""

import logging
import os
import signal
import socket
import sys
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from router.broker.private import GivenBroker, PrivateBroker, finding
from router.catalogue import Catalogues
from router.topics import word

from . import check
from .readiness import wait_served
from .supervisor import Supervisor, command, relay_environment

log = logging.getLogger(__name__)

_LOOK = 0.5
_SPOOL = ("tmp", "new", "bad", "kept")
_SUBSCRIPTIONS = """\
# Who wants to know what; see the README.  `clusterbus check` says whether it is right.
version: 1
subscriptions:
  - name: audit
    on: "#"
    log: {}
"""


def default_folder() -> Path:
    """Return where everything lives unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/clusterbus")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "clusterbus"


def run(folder: Path, subscriptions: Sequence[Path], environment: Mapping[str, str]) -> None:
    """Run everything in *folder* until SIGTERM or SIGINT; raises what keeps it from starting."""
    leave = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: leave.set())
    files = [each.absolute() for each in subscriptions] or [_first_subscriptions(folder)]
    names = [each.name for each in check.load(files, Catalogues.shipped()).subscriptions if each.mode == "live"]
    spool = Path(environment.get("CLUSTERBUS_SHIM_SPOOL") or folder / "spool").absolute()
    _make_spool(spool)
    broker = finding.find(environment.get("CLUSTERBUS_BROKER"), folder=folder.absolute() / "broker")
    if isinstance(broker, PrivateBroker):
        broker.start()
    try:
        with Supervisor() as supervisor:
            settings = _settings(folder.absolute(), broker, environment)
            supervisor.start("consume", command("consume", *map(str, files)), settings)
            wait_served(broker.url, names, tend=supervisor.tend)
            supervisor.start("router", command("router"), settings)
            _start_relay(supervisor, folder.absolute(), spool, broker, environment)
            _tell(spool, broker)
            while not leave.wait(_LOOK):
                supervisor.tend()
                _mend(broker)
    finally:
        if isinstance(broker, PrivateBroker):
            broker.close()


def _first_subscriptions(folder: Path) -> Path:
    """Return a subscription file that logs everything, made where there is none."""
    file = folder.absolute() / "subscriptions.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(_SUBSCRIPTIONS)
    return file


def _make_spool(spool: Path) -> None:
    for name in _SPOOL:
        (spool / name).mkdir(parents=True, exist_ok=True)
    spool.chmod(0o2770)


def _settings(folder: Path, broker: PrivateBroker | GivenBroker, environment: Mapping[str, str]) -> dict[str, str]:
    user = urllib.parse.unquote(urllib.parse.urlsplit(broker.url).username or "guest")
    settings = {
        "CLUSTERBUS_BROKER": broker.url,
        "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{folder / 'router.db'}",
        "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{folder / 'store.db'}",
        # On one machine all programs are one broker user, which then speaks for its node.
        "CLUSTERBUS_ROUTER_TRUSTED_USERS": user,
    }
    chosen = {name: value for name, value in environment.items() if name in settings and name != "CLUSTERBUS_BROKER"}
    return settings | chosen


def _start_relay(
    supervisor: Supervisor,
    folder: Path,
    spool: Path,
    broker: PrivateBroker | GivenBroker,
    environment: Mapping[str, str],
) -> None:
    cluster = environment.get("CLUSTERBUS_RELAY_CLUSTER") or word(socket.gethostname().partition(".")[0])
    words = [sys.executable, "-m", "shim.relay", "--spool", str(spool), "--cluster", cluster, "--run", str(folder)]
    root = ["--allow-root"] if os.geteuid() == 0 else []
    supervisor.start("relay", [*words, *root], relay_environment(broker.url, folder / "relay.password"))


def _mend(broker: PrivateBroker | GivenBroker) -> None:
    if isinstance(broker, PrivateBroker) and not broker.running:
        log.warning("broker fell and is started again", extra={"broker": broker.description})
        broker.start()


def _tell(spool: Path, broker: PrivateBroker | GivenBroker) -> None:
    host = urllib.parse.urlsplit(broker.url)
    capture = Path(__file__).resolve().parents[1] / "shim" / "capture.py"
    typer.echo(f"everything runs; the broker is at {host.hostname}:{host.port}. In another terminal, be the cluster:\n")
    example = "gpfs softQuotaExceeded --fsName gpfs1 --filesetName projects"
    typer.echo(f"    /usr/bin/python3 -IS {capture} --spool {spool} {example}\n")
