"""Why a service's program cannot begin, with the way out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from router.broker.addresses import Address
from router.broker.amqp.connections import Line
from router.broker.topology import HISTORY
from router.errors import Refused, Unreachable

from .options import Options


def refused_login(error: BaseException, options: Options) -> BaseException:
    """Return what to raise for the *error* of a connection."""
    if not isinstance(error, Refused):
        return error
    path = options.login.password_file
    file = f"the password in {path}" if path else "the password"
    return Refused(
        f"{error}; {file} may be an old one: `clusterbus services rotate {options.service or 'NAME'}` writes a new one"
    )


def refused_queue(error: BaseException, options: Options) -> BaseException:
    """Return what to raise for the *error* of a queue, or the history, that cannot be consumed."""
    if not isinstance(error, Refused) or "cannot be consumed" not in str(error):
        return error  # the history has its own way out
    name = options.service or "NAME"
    if repr(HISTORY) in str(error):
        way_out = f"since= needs the right to read the history: set `history: true` in the entry of service {name}"
    elif "NOT_FOUND" in str(error):
        way_out = f"`clusterbus services add {name} --on … --apply` makes it, `clusterbus services list` shows all"
    else:
        way_out = f"check the name of the service, and log in as its user: see `clusterbus services show {name}`"
    return Refused(f"{error}: {way_out}")


def not_reached(line: Line, missing: Collection[str], brokers: Sequence[Address], options: Options) -> Unreachable:
    """Return what to raise when nothing could be consumed within the patience."""
    within = f"within {options.patience.total_seconds():g} s"
    if not line.was_ready:
        listed = ", ".join(map(str, brokers))
        reason = line.reason if line.was_tried else "the first attempt still waits for an answer"
        return Unreachable(
            f"no broker answers {within}: {listed}: {reason}; check addresses, network and certificates,"
            " or wait longer with patience="
        )
    queues = " and ".join(sorted(missing))
    return Unreachable(f"{line.address} does not let us read {queues} {within}: its queue may have no majority")
