"""Nodes that harm: programs that publish under their own user as no relay would, until their standard input ends.

With the name of a queue they publish to that alone, past the router.
"""

import json
import sys
import threading
from datetime import UTC, datetime

from router.broker.client import Rabbit
from router.broker.interface import Message, Settlement
from router.broker.topology import INGRESS
from router.model.records import written
from tests.nodes import Node, Sent
from tests.rabbit import Tap

_OPEN = 300
"""How many records a flood has unconfirmed at once: as many as it likes, for no relay's limits hold for it."""


def small(node: Node) -> Sent:
    """A record like any other."""
    return node.record("mount", "--fsName", "gpfs1", at=datetime.now(UTC))


def dear(node: Node) -> Sent:
    """The record that costs the most: as many variables and as long as records may be."""
    words = [word for number in range(999) for word in (f"--v{number}", "x" * 900)]
    return node.record("mount", *words, at=datetime.now(UTC))


def garbage(node: Node) -> Sent:
    """A record of a version that nobody knows."""
    return small(node).saying(v=2, boot="\0" * 500)


def odd_key(node: Node) -> Sent:
    """A record whose key has a word that is longer than any of ours; the node's rights allow it."""
    sent = small(node)
    return sent.but(key=f"gpfs.prod.{'e' * 150}.{node.name}")


def endless_headers(node: Node) -> Sent:
    """S1: a rejected record with the longest headers that our client sends, and an id that is none."""
    sent = small(node).saying(v=2)
    return sent.but(headers={"v": 1, "epoch": "e" * 60_000, "sequence": 1}, id="\xff" * 120)


def future(node: Node) -> Sent:
    """S3: an occurrence that has not happened yet."""
    at = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    return node.record("nodeLeave", "--eventNode", "n9", at=datetime.now(UTC)).saying(captured_at=written(at))


KINDS = {each.__name__: each for each in (small, dear, garbage, odd_key, endless_headers, future)}
DEAF = "deaf"


def deaf(url: str, node: Node) -> None:
    """Publish small records of *node* and never ask what became of them: no refusal slows it down."""
    tap = Tap(url)
    channel = tap.channel.connection.channel()
    ended = threading.Event()

    def end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=end, daemon=True).start()
    ids = []
    print("begun", flush=True)
    while not ended.is_set():
        sent = small(node)
        channel.basic_publish(INGRESS, sent.key, sent.body, sent.properties)
        ids.append(sent.id)
    tap.close()
    print(json.dumps(ids))


def main(url: str, name: str, kind: str, queue: str = "") -> None:
    """Publish records of *kind* as node *name*, and print the ids of those that the broker has.

    The line before that says that the first was taken or refused.
    """
    if kind == DEAF:
        deaf(url, Node(name))
        return
    node, make = Node(name), KINDS[kind]
    exchange = "" if queue else INGRESS
    line = Rabbit(url, name=f"neighbour {name}")
    confirmed: list[str] = []
    has_begun = False

    def send() -> None:
        sent = make(node)
        message = Message(exchange, queue or sent.key, sent.body, sent.id, headers=sent.headers)

        def settled(settlement: Settlement) -> None:
            nonlocal has_begun
            if not has_begun:
                print("begun", flush=True)
            has_begun = True
            if settlement is Settlement.CONFIRMED:
                confirmed.append(json.loads(sent.body)["id"])
            send()

        line.publish(message, settled)

    def end() -> None:
        sys.stdin.read()
        line.call(line.stop)

    threading.Thread(target=end, daemon=True).start()
    for _ in range(_OPEN):
        send()
    line.run()
    print(json.dumps(confirmed))


if __name__ == "__main__":
    main(*sys.argv[1:])
