"""The metrics of the router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..broker.topology import INGRESS_QUEUES
from ..pipeline.state import State
from .exposition import Metric, Scrape, Values
from .monitoring import Monitoring, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..broker.client import Rabbit
    from ..pipeline.metrics.measures import Measures
    from ..pipeline.router import Router
    from ..services.backlog import Backlog
    from ..settings.sections.router_section import RouterSettings

RECORDS = Metric(
    "router_records",
    "counter",
    "Records by what became of them: event, copy (another node's record of the same occurrence), repeated (decided on"
    " before), heartbeat, rejected.",
    ("outcome",),
)
FINDINGS = Metric(
    "router_findings",
    "counter",
    "What the router found out: gapOpened, gapClosed, nodeSilent, nodeBack and so on, the names of its own events.",
    ("finding",),
)
DISMISSED = Metric(
    "router_rejected_records_dismissed",
    "counter",
    "Rejected records that are not kept, because 200 of the same user were rejected within an hour; `clusterbus doctor`"
    " names the users.",
)
RECEIVED = Metric(
    "router_captured_to_received_seconds",
    "histogram",
    "From the capture of a record, by the clock of its node, until the router took it in its turn.",
)
PUBLISHED = Metric(
    "router_received_to_published_seconds",
    "histogram",
    "From when the router took a record until the broker confirmed its event.",
)
SKEWED = Metric(
    "router_clock_skew",
    "counter",
    "Records that the router took before they were captured, by the clock of their node; they count as 0 s.",
)
UNFINISHED = Metric("router_unfinished_records", "gauge", "Records that the router holds and has not acknowledged.")
HEARD = Metric(
    "router_last_record_timestamp_seconds",
    "gauge",
    "When this router took a record last, heartbeats included; 0 before the first. A standby takes none.",
)
NODES = Metric("router_nodes", "gauge", "Nodes that the state knows.")
SILENT = Metric("router_silent_nodes", "gauge", "Nodes that are silent: their heartbeats stopped.")
MISSING = Metric(
    "router_missing_records", "gauge", "Records missing in the gaps that are reported, still open and remembered."
)
OUTBOX = Metric("router_outbox_events", "gauge", "Events of the router itself that the broker has not confirmed yet.")
REFUSED = Metric(
    "router_events_refused_by_others",
    "gauge",
    "Events that queues of other services have refused since they began to; 0 while they refuse none.",
)
_SERVICE = ("service",)
WAITING = Metric(
    "service_waiting_events", "gauge", "Events that wait for a service, without those that it holds.", _SERVICE
)
MISSED = Metric(
    "service_missed_events",
    "gauge",
    "Events that a service missed because its queue was full, and that are kept for it.",
    _SERVICE,
)
LOST = Metric(
    "service_missed_events_dropped",
    "gauge",
    "1 while the queue of missed events of a service has dropped some itself: only the history has them.",
    _SERVICE,
)
GIVEN_UP = Metric(
    "service_given_up_events",
    "gauge",
    "Events that a service rejected, or did not acknowledge in 20 deliveries, and that are kept for it.",
    _SERVICE,
)
READERS = Metric("service_consumers", "gauge", "Consumers of the queue of a service.", _SERVICE)
METRICS = (
    RECORDS,
    FINDINGS,
    DISMISSED,
    RECEIVED,
    PUBLISHED,
    SKEWED,
    UNFINISHED,
    HEARD,
    NODES,
    SILENT,
    MISSING,
    OUTBOX,
    REFUSED,
    WAITING,
    MISSED,
    LOST,
    GIVEN_UP,
    READERS,
)


def monitoring(
    settings: RouterSettings,
    broker: Rabbit,
    router: Router,
    measures: Measures,
    *,
    backlogs: Mapping[str, Backlog],
    problem: Callable[[], str],
) -> Monitoring:
    """Return what answers for *router*, and for services by their *backlogs*, at the address in `router.metrics`.

    Raises SettingsError.
    """
    reader = _StateReader(settings.state)
    program = Program(
        "router",
        broker,
        look=lambda: _look(router, measures, dict(backlogs)),
        read=reader.read,
        queues=lambda: INGRESS_QUEUES,
        problem=problem,
    )
    return Monitoring("router.metrics", settings.metrics, program)


def _look(router: Router, measures: Measures, backlogs: Mapping[str, Backlog]) -> Values:
    unfinished, heard = router.activity.unfinished, router.ingress.heard

    def add(scrape: Scrape) -> None:
        for outcome, count in measures.records.items():
            scrape.add(RECORDS, count, outcome)
        for finding, count in measures.findings.items():
            scrape.add(FINDINGS, count, finding)
        scrape.add(DISMISSED, measures.dismissed)
        scrape.add(RECEIVED, measures.captured_to_received)
        scrape.add(PUBLISHED, measures.received_to_published)
        scrape.add(SKEWED, measures.captured_to_received.negative)
        scrape.add(UNFINISHED, unfinished)
        scrape.add(HEARD, heard.timestamp() if heard else 0)
        for name, each in backlogs.items():
            scrape.add(WAITING, each.messages, name)
            scrape.add(MISSED, each.missed, name)
            scrape.add(LOST, each.has_lost, name)
            scrape.add(GIVEN_UP, each.dead, name)
            scrape.add(READERS, each.consumers, name)

    return add


class _StateReader:
    """Reads the state over connections of its own: the router's are for its thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._state: State | None = None

    def read(self) -> Values:
        self._state = self._state or State(self._url, upgrade=False)
        found = self._state.condition()

        def add(scrape: Scrape) -> None:
            scrape.add(NODES, found.nodes)
            scrape.add(SILENT, found.silent)
            scrape.add(MISSING, found.missing)
            scrape.add(OUTBOX, found.outbox)
            scrape.add(REFUSED, found.refusals)

        return add
