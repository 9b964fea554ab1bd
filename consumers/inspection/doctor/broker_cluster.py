"""The checks of `clusterbus doctor` that AMQP does not allow: cluster, alarms, replicas, who is connected, who reads.

They need rabbitmqctl on this machine, or the management API.  Where there is neither, a finding says what is not known.
"""

from collections.abc import Collection, Iterator

from router.broker.addresses import parse
from router.broker.topology import base, queue_of
from router.broker.users.admin_clients import observer
from router.broker.users.broker_state import BrokerNode, BrokerState, Client, QueueDetails
from router.errors import BrokerError, Refused, SettingsError
from router.settings.sections.logins import BrokerSettings

from .check_results import Finding, waiting

_REPLICAS = 3
_MOST = 5
_OURS = "clusterbus."
_OUR_QUEUES = frozenset(each.name for each in base().queues)
_SUBSCRIPTION = queue_of("")
_UNKNOWN = "alarms, partitions, replicas, unacknowledged messages, standby routers and queues that nobody reads"
_FREE = {
    "memory": "free memory on its machine, or raise vm_memory_high_watermark",
    "disk": "free space on the disk of its data, or lower disk_free_limit",
}


def look(settings: BrokerSettings) -> BrokerState | Finding:
    """Return the state of the broker, or why this machine cannot look into it."""
    try:
        vhost = parse(settings.url[0]).vhost
        found = observer(settings.control, settings.management, settings.management_password_file)
        if found is None:
            raise Refused(f"this machine has no {settings.control[0]}, and broker.management is not set")
        state = found.state(vhost)
        if not state.unknown and _OUR_QUEUES.isdisjoint(each.name for each in state.queues):
            raise Refused(f"the broker that can be looked into has no queues of ours in the virtual host {vhost!r}")
    except (BrokerError, SettingsError) as error:
        advice = "set broker.management, or run clusterbus doctor on a host of the broker as root"
        return Finding("broker", "warning", f"not known: {_UNKNOWN}: {error}", advice)
    return state


def examine(state: BrokerState, subscriptions: Collection[str] | None) -> Iterator[Finding]:
    """Check what is known of the broker; *subscriptions* are those of this machine's files, None if not known."""
    yield from _nodes(state.nodes)
    if state.unknown:
        seen = f"not known: replicas, unacknowledged messages, routers and blocked connections: {state.unknown}"
        yield Finding("broker", "warning", seen, "a broker that has just lost a node may not answer: ask again")
        return
    yield from _replicas(state)
    yield from _clients(state.clients)
    yield from _routers(state.clients)
    yield from _unread(state.queues, subscriptions)


def unacknowledged(state: BrokerState, queue: str) -> int | None:
    """Return how many messages of *queue* are with consumers, None if there is no such queue."""
    return next((each.unacknowledged for each in state.queues if each.name == queue), None)


def _nodes(nodes: Collection[BrokerNode]) -> Iterator[Finding]:
    well = True
    for each in nodes:
        if not each.is_running:
            well = False
            yield Finding("broker", "error", f"{each.name} is not running", "start it, or see its log")
        for alarm in each.alarms:
            well = False
            seen = f"{each.name} is low on {alarm}: the whole cluster blocks whoever publishes"
            yield Finding("broker", "error", seen, _FREE.get(alarm, "see `rabbitmq-diagnostics alarms`"))
        if each.cut_off:
            well = False
            advice = (
                "repair the network, then restart the smaller part; cluster_partition_handling = pause_minority lets"
                " the broker do so"
            )
            yield Finding("broker", "error", f"{each.name} is cut off from {', '.join(each.cut_off)}", advice)
    if well:
        running = f"{len(nodes)} nodes run" if len(nodes) > 1 else "its only node runs"
        yield Finding("broker", "ok", f"{running}, without alarms and partitions")


def _replicas(state: BrokerState) -> Iterator[Finding]:
    ours = [each for each in state.queues if each.name.startswith(_OURS) and each.replicas]
    yield from _held_back([each for each in state.queues if each.replicas and not each.name.startswith(_OURS)])
    wanted = min(_REPLICAS, len(state.nodes))
    lost = [each for each in ours if each.online * 2 <= each.replicas]
    down = [each for each in ours if each not in lost and each.online < each.replicas]
    few = [each for each in ours if each.replicas < wanted]
    if lost:
        seen = f"queues without a majority of their replicas take and give nothing: {_named(lost)}"
        yield Finding("broker", "error", seen, "start the nodes of the broker that are down")
    if down:
        seen = f"queues with replicas that are down: {_named(down)}"
        yield Finding("broker", "warning", seen, "start the nodes of the broker that are down")
    if few:
        quorum, stream = ([each for each in few if (each.kind == "stream") is kind] for kind in (False, True))
        ways = [
            *(["`rabbitmq-queues grow NODE all` for each new node"] if quorum else []),
            *([f"{_ADD_REPLICA} {each.name} NODE --vhost VHOST`" for each in stream]),
        ]
        seen = f"queues with fewer replicas than {wanted}, on a cluster of {len(state.nodes)}: {_named(few)}"
        yield Finding("broker", "error", seen, f"the loss of one node stops them: {'; '.join(ways)}")
    if ours and not (lost or down or few):
        yield Finding("broker", "ok", f"each of our queues has its {wanted} replicas" if wanted > 1 else _SINGLE)


def _held_back(others: list[QueueDetails]) -> Iterator[Finding]:
    if lost := [each for each in others if each.online * 2 <= each.replicas]:
        seen = f"queues that are not ours have no majority of their replicas, and answer nothing: {_named(lost)}"
        advice = (
            "start the nodes of the broker that are down, or ask their owners to delete them: if one is bound to"
            " clusterbus.events, our queues get every event late at first, and queues of others miss some"
        )
        yield Finding("broker", "error", seen, advice)


# Debian has it in no folder of PATH, without the script that changes to the broker's user.
_ADD_REPLICA = "`runuser -u rabbitmq -- env HOME=/var/lib/rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-streams add_replica"
_SINGLE = "each of our queues has its one replica, on the only node"


def _named(queues: list[QueueDetails]) -> str:
    shown = ", ".join(f"{each.name} ({each.online} of {each.replicas})" for each in queues[:_MOST])
    return f"{shown} and {len(queues) - _MOST} more" if len(queues) > _MOST else shown


def _clients(clients: Collection[Client]) -> Iterator[Finding]:
    blocked = [each for each in clients if each.state in ("blocked", "blocking")]
    if blocked:
        names = sorted({each.facts.get("connection_name") or each.user for each in blocked})
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        seen = f"blocked connections ({len(blocked)}): {', '.join(names[:_MOST])}{more}"
        yield Finding("publishing", "error", seen, "the broker is short of memory or disk: free some")


def _routers(clients: Collection[Client]) -> Iterator[Finding]:
    """Check how many routers there are, and whether they have one state."""
    facts = [each.facts for each in clients if each.facts.get("connection_name") == "clusterbus-router"]
    # Each has two connections.
    routers = {(each.get("host", ""), each.get("process", "")): each.get("state", "") for each in facts}
    hosts = ", ".join(host or "a machine that does not say" for host, _ in sorted(routers))
    if not routers:
        return  # the part that asks who reads says so
    if len(routers) == 1:
        yield Finding("router", "ok", f"one router runs, on {hosts}; no other one stands by")
        return
    places = {place: host for (host, _), place in routers.items()}
    if len(places) > 1:
        shown = ", ".join(f"{place or 'not known'} ({host})" for place, host in sorted(places.items()))
        advice = (
            "set router.state to one PostgreSQL database on all hubs; else the router that takes over reports gaps and"
            " new epochs that do not exist, and does not recognize copies"
        )
        yield Finding("router", "error", f"{len(routers)} routers run with different states: {shown}", advice)
        return
    yield Finding("router", "ok", f"{len(routers)} routers run with one state, on {hosts}: one works, others stand by")


def _unread(queues: Collection[QueueDetails], subscriptions: Collection[str] | None) -> Iterator[Finding]:
    """Name the queues of subscriptions that nobody reads and that this machine's files do not have."""
    known = {queue_of(name) for name in subscriptions or ()}
    for each in sorted(queues, key=lambda each: each.name):
        if each.name.startswith(_SUBSCRIPTION) and not each.consumers and each.name not in known:
            name = each.name.removeprefix(_SUBSCRIPTION)
            seen = f"nobody reads {each.name}, which goes on filling; {waiting(each.ready, 'delivery')}"
            # Only the files of its subscription say which events of the history it gets.
            seen += ", the age of the oldest is unknown" if each.ready else ""
            advice = f"start the consumers that serve it, or run clusterbus subscriptions remove {name}"
            yield Finding("subscriptions", "warning", seen, advice)
