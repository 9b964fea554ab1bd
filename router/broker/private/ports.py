"""Ports for brokers of our own, and whether one answers there.

Everything is on 127.0.0.1.  AMQP is spoken here only as far as the broker's first frame, without a client library:
that frame names the cluster, so it also proves that what answers is *our* broker and not another one.
"""

import random
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LOCAL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_POLL: Final = 0.02
_LONGEST_GREETING: Final = 65536
# RabbitMQ's own well-known ports: a machine's own service may want them at any time.
_TAKEN_BY_CUSTOM: Final = frozenset({15671, 15672, 15692, 25672, *range(35672, 35683)})


def outside(low: int, high: int) -> list[int]:
    """Return the ports that a listener may use for long: those the kernel does not hand out itself, *low* to *high*.

    >>> ports = outside(32768, 60999)
    >>> ports[0], 32767 in ports, 32768 in ports, 61000 in ports, 25672 in ports
    (10240, True, False, True, False)
    """
    return [port for port in range(10240, 65000) if not low <= port <= high and port not in _TAKEN_BY_CUSTOM]


def free_ports(count: int) -> list[int]:
    """Return *count* different ports that nobody listens on now.

    Picked at random, so that two processes that ask at the same moment hardly ever get the same; who starts a
    listener must still expect that a port was taken in between.
    """
    try:
        low, high = (int(word) for word in _LOCAL_RANGE.read_text().split())
    except (OSError, ValueError):
        low, high = 32768, 60999
    candidates = outside(low, high) or list(range(10240, 32768))
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if is_free(port):
            found.append(port)
        if len(found) == count:
            break
    return found


def is_free(port: int) -> bool:
    """Say whether a listener could be opened on *port* now, also where old connections linger."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int, cluster: str, *, patience: timedelta = timedelta(seconds=2)) -> bool:
    """Say whether the RabbitMQ of *cluster* greets an AMQP client on *port* within *patience*."""
    greeting = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=patience.total_seconds()) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            while cluster.encode() not in greeting and len(greeting) < _LONGEST_GREETING:
                part = client.recv(4096)
                if not part:
                    return False
                greeting += part
    except OSError:
        return False
    return cluster.encode() in greeting


def until(condition: Callable[[], bool], limit: timedelta) -> bool:
    """Wait until *condition* holds, at most *limit*; return whether it does."""
    deadline = time.monotonic() + limit.total_seconds()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True
