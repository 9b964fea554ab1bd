"""What `clusterbus doctor` checks of services of other teams: their files, what waits for each, what it missed."""

from collections.abc import Iterator, Mapping

from router.broker.service_topology import dead_queue, missed_queue, service_queue, service_queues
from router.errors import SettingsError
from router.services import service_files
from router.services.service_files import Definition
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

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


def queues(wanted: Mapping[str, Definition]) -> list[str]:
    """Return the queues of the *wanted* services."""
    return [queue for name in wanted for queue in service_queues(name)]


def examine(known: Known, wanted: Mapping[str, Definition]) -> Iterator[Finding]:
    """Check what the broker knows of the queues of the *wanted* services."""
    for name, each in wanted.items():
        owner = f"ask {each.service.owner}" if each.service.owner else "ask its owner"
        if service_queue(name) not in known:
            yield Finding(PART, "warning", f"{name}: this broker user may not read its queue", "run this as operator")
            continue
        facts = known[service_queue(name)]
        if facts is None:
            yield Finding(PART, "error", f"{name} has no queue", "run clusterbus services apply")
            continue
        missed, given_up = (known.get(queue(name)) for queue in (missed_queue, dead_queue))
        waits = f"{facts.messages} events wait"
        if missed and missed.messages:
            seen = f"{name} missed {missed.messages} events, because its queue was full; {waits}"
            advice = f"{owner} to read them; then clusterbus services replay {name} --missed --apply"
            yield Finding(PART, "error", seen, advice)
        elif not facts.consumers and facts.messages:
            yield Finding(PART, "warning", f"{name} reads nothing; {waits}", f"{owner} whether its program runs")
        elif facts.messages > _MANY:
            yield Finding(PART, "warning", f"{name} is behind; {waits}", f"{owner} why its program is slow")
        else:
            yield Finding(PART, "ok", f"{name}: {waits}, {facts.consumers} consumers")
        if given_up and given_up.messages:
            seen = f"{name} gave up {given_up.messages} events: it rejected them, or failed 20 times"
            yield Finding(PART, "warning", seen, f"{owner} to look into {dead_queue(name)}")
