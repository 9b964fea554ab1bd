"""What `clusterbus doctor` checks of services of other teams: their files, what waits for each, what it missed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from router.broker.addresses import parse
from router.broker.history.queue_ages import Age, Held
from router.broker.service_topology import dead_queue, service_queue, service_queues
from router.broker.users.admin_clients import observer
from router.broker.users.broker_state import BrokerState
from router.broker.users.drift import Grants
from router.broker.users.permissions import Role, User
from router.errors import BrokerError, QueuesDown, SettingsError
from router.services import service_files
from router.services.backlog import backlog
from router.services.plan import user_of
from router.services.service_files import Definition
from router.settings.models import Settings
from router.settings.sections.logins import BrokerSettings
from router.settings.site_catalogue import catalogues
from router.terminal_text import counted

from . import queues as queue_checks
from .broker_cluster import unacknowledged
from .check_results import Finding
from .queues import Known

PART = "service-queues"
_MANY = 10_000


def read(settings: Settings) -> tuple[list[Finding], Mapping[str, Definition]]:
    """Return what is wrong with the files of services, and the services in them."""
    try:
        found = service_files.read(settings.services.folder, catalogues(settings))
    except SettingsError:
        return [], {}  # the part `subscriptions` says what is wrong with the catalogue
    wrong = [Finding(PART, "error", each, "fix it: until then no service can be changed") for each in found.mistakes]
    wrong += [Finding(PART, "warning", each, "see whether it is intended") for each in found.warnings]
    return wrong, {} if found.mistakes else found.definitions


def elsewhere(settings: BrokerSettings, wanted: Mapping[str, Definition]) -> Iterator[Finding]:
    """Check that the users of the *wanted* services have rights in our virtual host only, if this machine can see."""
    users = tuple(User(user_of(name, settings.prefix), Role.SERVICE) for name in wanted)
    try:
        found = observer(settings.control, settings.management, settings.management_password_file)
        if not users or found is None:
            return
        sentences = Grants(users, parse(settings.url[0]).vhost).elsewhere(found.definitions())
    except (BrokerError, SettingsError):
        return  # the part `broker` says why it cannot be looked into
    for each in sentences:
        seen, _, advice = each.partition("; ")
        yield Finding(PART, "warning", seen, advice)


def queues(wanted: Mapping[str, Definition]) -> list[str]:
    """Return the queues of the *wanted* services."""
    return [queue for name in wanted for queue in service_queues(name)]


def held(known: Known, wanted: Mapping[str, Definition], state: BrokerState | None) -> dict[str, Held]:
    """Return what the queues of the *wanted* services hold, by queue; with what is unacknowledged, if *state* says."""
    return {
        queue: Held(each.patterns, facts.messages + (unacknowledged(state, queue) or 0 if state else 0))
        for name, each in wanted.items()
        if (facts := queue_checks.facts_of(known, queue := service_queue(name)))
    }


def examine(
    known: Known,
    wanted: Mapping[str, Definition],
    state: BrokerState | None = None,
    ages: Mapping[str, Age] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Check what the broker knows of the queues of the *wanted* services.

    *ages* are those of the oldest events in queues.  What services hold is in *state*, if that is known.
    """
    now = datetime.now(UTC)
    for name, each in wanted.items():
        owner = f"ask {each.service.owner}" if each.service.owner else "ask its owner"
        if service_queue(name) not in known:
            yield Finding(PART, "warning", f"{name}: this broker user may not read its queue", "run this as operator")
            continue
        if down := [queue for queue in service_queues(name) if isinstance(known.get(queue), QueuesDown)]:
            seen = f"{name}: the broker cannot reach {', '.join(down)}"
            yield Finding(PART, "error", seen, queue_checks.OUT_OF_REACH)
            continue
        facts = backlog(name, known)
        if facts is None:
            yield Finding(PART, "error", f"{name} has no queue", "run clusterbus services apply")
            continue
        begun = unacknowledged(state, service_queue(name)) if state else None
        waits = queue_checks.backlog(facts.messages, "event", begun, ages.get(service_queue(name)), now)
        if facts.has_lost:
            seen = f"{name} missed more events than are kept for it, because its queue was full; {waits}"
            advice = f"{owner} to read them; clusterbus services status shows the commands to run"
            yield Finding(PART, "error", seen, advice)
        elif facts.missed:
            seen = f"{name} missed {counted(facts.missed, 'event')}, because its queue was full; {waits}"
            advice = f"{owner} to read them; then clusterbus services replay {name} --missed --apply"
            yield Finding(PART, "error", seen, advice)
        elif not facts.consumers and facts.messages:
            yield Finding(PART, "warning", f"{name} reads nothing; {waits}", f"{owner} whether its program runs")
        elif facts.messages > _MANY:
            yield Finding(PART, "warning", f"{name} is behind; {waits}", f"{owner} why its program is slow")
        else:
            yield Finding(PART, "ok", f"{name}: {waits}, {counted(facts.consumers, 'consumer')}")
        if facts.dead:
            seen = f"{name} gave up {counted(facts.dead, 'event')}: it rejected them, or failed 20 times"
            yield Finding(PART, "warning", seen, f"{owner} to look into {dead_queue(name)}")
