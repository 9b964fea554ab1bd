"""`clusterbus up`: broker, relay, router and consumers on this machine; the broker is private unless one is set."""

import logging
import os
import shlex
import signal
import socket
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from router import file_modes, interpreter
from router.cli.output import show
from router.cluster.nodes.release import SHIM
from router.local_broker import choose
from router.local_broker.choose import GivenBroker
from router.local_broker.private_broker import PrivateBroker
from router.model.topics import word
from router.settings.loading import Loaded
from router.settings.site_catalogue import catalogues

from ..new_site.site_files import FIRST_SUBSCRIPTIONS
from ..processes.job_files import write_whole
from ..subscriptions import validation
from .readiness import wait_served
from .supervisor import Supervisor, command, relay_environment

log = logging.getLogger(__name__)

_LOOK = 0.5
_SPOOL = ("tmp", "new", "bad", "kept")
_ENVIRONMENT = "environment"


def default_folder() -> Path:
    """Return the default folder for all data."""
    if os.geteuid() == 0:
        return Path("/var/lib/clusterbus")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "clusterbus"


def run(
    folder: Path, subscriptions: Sequence[Path], loaded: Loaded, options: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Run everything in *folder* until SIGTERM or SIGINT, by the settings *loaded*; raises what prevents the start.

    What is not set is in *folder*.  *options* are those of `clusterbus` itself, for the programs that are started.
    """
    leave = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: leave.set())
    folder = folder.absolute()
    _make_folder(folder)
    settings = loaded.settings
    files = [each.absolute() for each in subscriptions] or [_subscriptions(folder, loaded)]
    checked = validation.check(files, catalogues(settings), settings).valid()
    names = [each.name for each in checked.subscriptions if each.mode == "live"]
    spool = settings.shim.spool.absolute() if "shim.spool" in loaded.origins else folder / "spool"
    _make_spool(spool)
    urls = settings.broker.urls() if "broker.url" in loaded.origins else ()
    broker = choose.find(urls[0] if urls else None, folder=folder / "broker", plugins=["rabbitmq_prometheus"])
    if isinstance(broker, PrivateBroker):
        broker.start()
    urls = urls or (broker.url,)
    try:
        with Supervisor() as supervisor:
            variables = _variables(folder, urls, loaded)
            supervisor.start("consume", command(*options, "consume", *map(str, files)), variables)
            wait_served(urls, names, tend=supervisor.tend)
            supervisor.start("router", command(*options, "router"), variables)
            _start_relay(supervisor, folder, spool, urls, environment, settings.facts.cluster)
            file = _write_environment(folder, variables | _control(broker, loaded), files, spool)
            _show_example(spool, broker, file)
            while not leave.wait(_LOOK):
                supervisor.tend()
                _restart(broker)
    finally:
        if isinstance(broker, PrivateBroker):
            broker.close()


def _make_folder(folder: Path) -> None:
    """Create *folder*, or take it from other users if it holds nothing but what we put there."""
    file_modes.make_folder(folder)
    if not any(folder.iterdir()) or (folder / _ENVIRONMENT).exists():
        file_modes.close_folder_to_others(folder)


def _subscriptions(folder: Path, loaded: Loaded) -> Path:
    if "consumers.subscriptions" in loaded.origins:
        return loaded.settings.consumers.subscriptions.absolute()
    return _first_subscriptions(folder)


def _first_subscriptions(folder: Path) -> Path:
    """Return the subscription file in *folder*; create one that logs everything if it does not exist."""
    file = folder / "subscriptions.yaml"
    if not file.exists():
        file.write_text(FIRST_SUBSCRIPTIONS)
    return file


def _make_spool(spool: Path) -> None:
    for name in _SPOOL:
        (spool / name).mkdir(parents=True, exist_ok=True)
    spool.chmod(0o2770)


def _variables(folder: Path, urls: Sequence[str], loaded: Loaded) -> dict[str, str]:
    """Return the environment of our programs: the broker, and what the settings leave to us."""
    user = urllib.parse.unquote(urllib.parse.urlsplit(urls[0]).username or "guest")
    ours = {
        "router.state": f"sqlite:///{folder / 'router.db'}",
        "consumers.store": f"sqlite:///{folder / 'store.db'}",
        "services.folder": str(folder / "services"),
        "services.secrets": str(folder / "secrets" / "services"),
        # On one machine all programs use the same broker user, which may then report for its node.
        "router.trusted_users": user,
    }
    left = {name: value for name, value in ours.items() if name not in loaded.origins}
    variables = {f"CLUSTERBUS_{name.upper().replace('.', '_')}": value for name, value in left.items()}
    return {"CLUSTERBUS_BROKER": " ".join(urls)} | variables


def _control(broker: PrivateBroker | GivenBroker, loaded: Loaded) -> dict[str, str]:
    """Return how commands ask *broker* about its cluster, unless the settings say it; the words may hold no blanks."""
    if isinstance(broker, GivenBroker) or "broker.control" in loaded.origins or "broker.management" in loaded.origins:
        return {}
    script = str(broker.control())
    return {} if len(script.split()) > 1 else {"CLUSTERBUS_BROKER_CONTROL": script}


def _write_environment(folder: Path, variables: Mapping[str, str], files: Sequence[Path], spool: Path) -> Path:
    """Write the file by which commands in another terminal find all this; only we may read it: it has a password."""
    more = {"CLUSTERBUS_SHIM_SPOOL": str(spool)}
    if len(files) == 1:
        more["CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS"] = str(files[0])
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in {**variables, **more}.items()]
    file = folder / _ENVIRONMENT
    write_whole(file, "".join(lines).encode(), 0o600)
    return file


def _start_relay(
    supervisor: Supervisor,
    folder: Path,
    spool: Path,
    urls: Sequence[str],
    environment: Mapping[str, str],
    cluster: str,
) -> None:
    host = word(socket.gethostname().partition(".")[0])
    cluster = environment.get("CLUSTERBUS_RELAY_CLUSTER") or cluster or host
    options = ["--spool", str(spool), "--cluster", cluster, "--run", str(folder)]
    root = ["--allow-root"] if os.geteuid() == 0 else []
    words = interpreter.module("shim.relay", *options, *root)
    supervisor.start("relay", words, relay_environment(urls, folder / "relay.password"))


def _restart(broker: PrivateBroker | GivenBroker) -> None:
    if isinstance(broker, PrivateBroker) and not broker.running:
        log.warning("broker exited and is restarted", extra={"broker": broker.description})
        broker.start()


def _show_example(spool: Path, broker: PrivateBroker | GivenBroker, environment: Path) -> None:
    host = urllib.parse.urlsplit(broker.url)
    capture = SHIM / "capture.py"
    if isinstance(broker, PrivateBroker):
        show(f"the broker's metrics are at {broker.metrics_url}")
    show(f"everything runs; the broker is at {host.hostname}:{host.port}. In another terminal, let commands find it:")
    show()
    show(f"    . {shlex.quote(str(environment))}")
    show()
    show("and raise an event:")
    show()
    example = "gpfs softQuotaExceeded --fsName gpfs1 --filesetName projects"
    show(f"    /usr/bin/python3 -IS {capture} --spool {spool} {example}")
    show()
