"""Ports for private brokers, and checks whether a broker answers there.

All ports are on 127.0.0.1.  This module speaks AMQP up to the first frame of the broker, without a client library.
That frame names the cluster, which proves that the *expected* broker answers and not another one.
"""

import operator
import random
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

LOOPBACK: Final = "127.0.0.1"
_LOCAL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_POLL: Final = timedelta(milliseconds=20)
_LONGEST_GREETING: Final = 65536
# RabbitMQ's well-known ports: the machine's own service may need them at any time.
_TAKEN_BY_CUSTOM: Final = frozenset({15671, 15672, 15692, 25672, *range(35672, 35683)})


def outside(low: int, high: int) -> list[int]:
    """Return the ports for a permanent listener: those outside *low* to *high*, which the kernel assigns itself.

    >>> ports = outside(32768, 60999)
    >>> ports[0], 32767 in ports, 32768 in ports, 61000 in ports, 25672 in ports
    (10240, True, False, True, False)
    """
    return [port for port in range(10240, 65000) if not low <= port <= high and port not in _TAKEN_BY_CUSTOM]


def free_ports(count: int) -> list[int]:
    """Return *count* different ports that no process listens on now.

    They are random, so that two simultaneous callers rarely get the same ones.  The caller must still expect that
    another process takes a port before its own listener starts.
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
    """Return whether a listener can open *port* now, ignoring old connections in TIME_WAIT."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int, cluster: str, *, patience: timedelta = timedelta(seconds=2)) -> bool:
    """Return whether the RabbitMQ of *cluster* greets an AMQP client on *port* within *patience*."""
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
    looking = Retrying(
        retry=retry_if_result(operator.not_),
        wait=wait_fixed(_POLL),
        stop=stop_after_delay(limit),
        retry_error_callback=lambda _: False,
    )
    return looking(condition)
