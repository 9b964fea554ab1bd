"""Where the records of each node are, and that they stay in order when that changes."""

import random
from collections import deque

from router.broker.interface import Arrival
from router.broker.topology import INGRESS, QUARANTINE, SHARDS, Binding, of_node, shard_of
from router.pipeline.ingress.placement import Move, Placement, marker_of, node_of

NODE = "nsd01"
SHARD = shard_of(NODE)


def arrival(queue: str, id_: str = "", node: str = NODE) -> Arrival:
    return Arrival(queue, INGRESS, f"gpfs.prod.mount.{node}", b"", id_, node, {}, False, None)


def moved(placement: Placement, queue: str) -> Move:
    move = placement.arrived(arrival(queue), NODE)
    assert move is not None
    return move


def test_a_node_is_bound_when_it_is_first_heard() -> None:
    move = moved(Placement(), INGRESS)

    assert (move.old, move.new) == (INGRESS, SHARD)
    assert move.topology.bindings == (Binding(SHARDS, SHARD, f"*.*.*.{NODE}"),)
    assert move.topology.stale == ()


def test_a_node_that_is_where_it_belongs_stays() -> None:
    placement = Placement()

    assert placement.arrived(arrival(SHARD), NODE) is None
    assert placement.arrived(arrival(INGRESS), NODE) is None, "an old record of it"


def test_a_node_in_the_shard_of_another_release_is_moved() -> None:
    other = "clusterbus.ingress.9"

    move = moved(Placement(), other)

    assert (move.old, move.new) == (other, SHARD)
    assert move.topology.stale == (of_node(NODE, other),)


def test_a_node_that_floods_is_set_aside_and_comes_back() -> None:
    placement = Placement()
    placement.arrived(arrival(SHARD), NODE)

    away = placement.quarantine(NODE)
    assert away is not None
    assert (away.old, away.new) == (SHARD, QUARANTINE)
    assert placement.release(NODE) is None, "the first move is under way"
    placement.passed(away.marker)
    assert placement.quarantine(NODE) is None, "it is there"
    back = placement.release(NODE)
    assert back is not None
    assert (back.old, back.new) == (QUARANTINE, SHARD)


def test_a_newcomer_that_floods_is_set_aside_before_it_has_arrived_in_its_shard() -> None:
    placement = Placement()
    first = moved(placement, INGRESS)

    second = placement.quarantine(NODE)

    assert second is not None
    assert (second.old, second.new) == (SHARD, QUARANTINE)
    in_shard, aside = arrival(SHARD, "1"), arrival(QUARANTINE, "2")
    assert placement.is_held(aside, NODE, 5)
    assert placement.is_held(in_shard, NODE, 7)
    assert placement.passed(second.marker) == [], "what came to the shard before it is held itself"
    assert placement.passed(first.marker) == [(in_shard, NODE, 7), (aside, NODE, 5)]
    assert not placement.is_held(aside, NODE, 5)


def test_only_a_nodes_own_records_are_judged() -> None:
    assert node_of(arrival(SHARD)) == NODE
    assert node_of(Arrival(SHARD, INGRESS, f"gpfs.prod.mount.{NODE}", b"", "", "operator", {}, False, None)) is None
    assert node_of(Arrival(SHARD, INGRESS, "nonsense", b"", "", "nonsense", {}, False, None)) is None


def test_a_marker_is_known_by_the_exchange_to_which_only_routers_publish() -> None:
    assert marker_of(arrival(SHARD, "m")) is None
    assert marker_of(Arrival(SHARD, SHARDS, "passed.1", b"", "m", "router", {}, False, None)) == "m"


def test_a_nodes_records_stay_in_order_however_the_queues_are_read() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        placement, queues = Placement(), {INGRESS: deque[Arrival](), SHARD: deque(), QUARANTINE: deque()}
        bound, sent, seen, moves = INGRESS, 0, list[int](), list[Move]()
        for step in range(400):
            action = chance.randrange(6)
            if action == 0 and sent < 60:
                queues[bound].append(arrival(bound, str(sent)))
                sent += 1
            elif action == 1 and (move := (placement.quarantine if chance.random() < 0.5 else placement.release)(NODE)):
                moves.append(move)
            elif action == 2 and moves:
                # The broker does what it was told: the binding changes, and then the marker goes to the old queue.
                move = moves.pop(0)
                bound = move.new
                queues[move.old].append(
                    Arrival(move.old, SHARDS, "passed", b"", move.marker, "router", {}, False, None)
                )
            elif (waiting := [each for each in queues.values() if each]) or step > 300:
                if not waiting:
                    continue
                taken = chance.choice(waiting).popleft()
                if marker := marker_of(taken):
                    seen += [int(each.id) for each, _, _ in placement.passed(marker)]
                    continue
                if first := placement.arrived(taken, NODE):
                    moves.append(first)
                if not placement.is_held(taken, NODE, 0):
                    seen.append(int(taken.id))
        assert seen == sorted(seen), f"seed {seed}"


def test_of_two_nodes_none_is_moved_against_a_move_between_the_same_queues() -> None:
    placement = Placement()
    other = next(name for n in range(1000) if shard_of(name := f"other{n}") == SHARD)
    placement.arrived(arrival(QUARANTINE), NODE)
    placement.arrived(arrival(SHARD, node=other), other)
    for marker in [each.marker for moves in placement._moves.values() for each in moves]:
        placement.passed(marker)
    back = placement.release(NODE)
    assert back is not None

    assert placement.quarantine(other) is None, "its marker could wait behind what is held for the other's"
    placement.passed(back.marker)
    assert placement.quarantine(other) is not None
