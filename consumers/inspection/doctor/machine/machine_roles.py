"""What this machine is for the site, and so what `clusterbus doctor` asks it: a node, a hub, a management host."""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path

from router import database
from router.errors import SettingsError
from router.pipeline.state import State
from router.settings.models import Settings
from router.settings.sections.logins import BrokerSettings

from ....store.database import Store
from ..check_results import PARTS, Finding
from ..time_limit import NoAnswer, TimeLimit

_RELAY_SETTINGS = Path("/etc/clusterbus/relay.conf")
_ENABLED = Path("/etc/systemd/system/multi-user.target.wants")
_LIMIT = timedelta(seconds=5)
"""For a disk to say whether a file is there."""

_BROKER = frozenset({"broker", "publishing"})
_EVERYWHERE = frozenset({"services"})


def belonging(settings: Settings) -> tuple[Finding, Collection[str]]:
    """Return what this machine is found to be, and the parts that belong to it; all parts where it is nothing yet."""
    roles = {role: parts for role, (is_one, parts) in _ROLES.items() if is_one(settings)}
    if not roles:
        seen = "nothing is installed or configured on this machine yet: all parts are checked"
        return Finding("machine", "ok", seen), PARTS
    parts = _EVERYWHERE.union(*roles.values())
    left_out = sorted(PARTS - parts)
    more = f"; not asked, because it is nothing else: {', '.join(left_out)}" if left_out else ""
    return Finding("machine", "ok", f"this is {', '.join(roles)}{more}"), parts


def operator_is_elsewhere(settings: Settings) -> bool:
    """Return whether the operator's password is on another machine, and here only programs log in, as their users."""
    file, programs = settings.broker.password_file, (settings.router.broker, settings.consumers.broker)
    return file is not None and not _is_there(file) and any(each.user for each in programs)


def _is_node(settings: Settings) -> bool:
    return _is_there(settings.shim.spool) or _is_there(_RELAY_SETTINGS)


def _has_router(settings: Settings) -> bool:
    return _is_enabled("clusterbus-router") or _has_database(settings.router.state, State.setting)


def _has_consumers(settings: Settings) -> bool:
    return _is_enabled("clusterbus-consume") or _has_database(settings.consumers.store, Store.setting)


def _is_management_host(settings: Settings) -> bool:
    # The hubs of a site have the same settings.
    manages = bool(settings.nodes.relay) and not operator_is_elsewhere(settings)
    return manages or _is_there(settings.gpfs.commands / "mmlscallback")


def _has_services(settings: Settings) -> bool:
    return _is_there(settings.services.folder) and not operator_is_elsewhere(settings)


def _is_client(settings: Settings) -> bool:
    return settings.broker.url != BrokerSettings().url


_ROLES: Mapping[str, tuple[Callable[[Settings], bool], frozenset[str]]] = {
    "a node": (_is_node, frozenset({"spool", "relay"})),
    "a hub with a router": (_has_router, _BROKER | {"router"}),
    "a hub with consumers": (_has_consumers, _BROKER | {"subscriptions", "store"}),
    "a host of services' files": (_has_services, _BROKER | {"service-queues"}),
    "a management host": (_is_management_host, frozenset({"callbacks", "nodes"})),
    "a client of the broker": (_is_client, _BROKER),
}
"""What a machine may be, how that is seen, and what belongs to it beside what belongs to every machine."""


def _is_there(path: Path) -> bool:
    """Return whether there is something at *path*; what cannot be seen, or hangs, counts, and its part says why."""
    try:
        return TimeLimit(_LIMIT).within(str(path), path.exists)
    except OSError:
        return True


def _is_enabled(program: str) -> bool:
    return (_ENABLED / f"{program}.service").is_symlink()


def _has_database(url: str, setting: str) -> bool:
    try:
        return TimeLimit(_LIMIT).within(setting, lambda: database.exists(database.parsed(url, setting)))
    except (SettingsError, NoAnswer):
        return True  # somebody has set it, and its part says what is wrong
