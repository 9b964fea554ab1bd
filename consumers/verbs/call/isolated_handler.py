"""Calls a function in its own short-lived process, so that it cannot harm the consumer.

The request goes through standard input, the outcome comes back through a file in memory, and the output of the function
is kept separate from both.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from router import interpreter
from router.model import durations

from ...config.python_files import loaded_source
from ...deliveries import Delivery, Report, bounded
from ...errors import Rejected
from ...policies.consumer_deaths import SUSPECT
from ...processes import child_process
from ..interface import Handler, Surroundings
from ..run.attached import Attached, reject_cancelled
from ..run.local import about
from . import results
from .function_handler import found, shown
from .options import TIMEOUT, CallOptions

_LARGEST_OUTCOME = 1_048_576
_CHILD = "consumers.verbs.call.isolated_child"


class IsolatedHandler(Handler):
    """Calls the function of one subscription, each time in a new process."""

    timeout = TIMEOUT
    """The limit of a call where the subscription has none."""

    is_contained = True

    def __init__(self, verb: CallOptions, surroundings: Surroundings) -> None:
        """Find the function in this process too, so that mistakes are reported before an event arrives."""
        self._verb, self._attached = verb, Attached(surroundings)
        target, self._arguments, _ = found(verb, surroundings)
        # The child calls the checked source, even if the file was edited since.
        source = loaded_source(target.module)
        self._request = {
            "function": verb.function,
            "folders": [str(each) for each in surroundings.settings.consumers.handlers],
            "source": source.decode("latin-1") if source is not None else None,
            "fixed": verb.fixed,
            "parms": verb.parms,
            "joined": verb.joined,
            "memory": verb.memory,
        }

    def __call__(self, delivery: Delivery) -> Report | None:
        """Call the function; return None if a stop interrupted it."""
        outcome = os.memfd_create("outcome", os.MFD_CLOEXEC)
        try:
            command, feed = self._command(delivery, outcome), self._feed(delivery, outcome)
            ended = self._attached.run(delivery, command, feed, {**about(delivery), "command": [self._verb.function]})
            reject_cancelled(ended, delivery.mark, {"seconds": round(ended.seconds, 3)})
            return self._report(ended, os.pread(outcome, _LARGEST_OUTCOME, 0))
        finally:
            os.close(outcome)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the function and the arguments that it would get."""
        return {"function": self._verb.function, "arguments": shown(self._arguments(delivery)), "isolate": True}

    def _command(self, delivery: Delivery, outcome: int) -> child_process.Command:
        # The consumer's environment, as for a function that is not isolated, without the settings of clusterbus.
        environment = {name: text for name, text in os.environ.items() if not name.startswith("CLUSTERBUS_")}
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)  # noqa: PTH100 - entries of the path are texts
        return child_process.Command(
            words=interpreter.module(_CHILD),
            environment={**environment, "PYTHONPATH": path},
            mark=delivery.mark,
            timeout=self._verb.timeout or self.timeout,
            grace=child_process.GRACE,
            output=results.LARGEST,
            keep=(outcome,),
        )

    def _feed(self, delivery: Delivery, outcome: int) -> bytes:
        about = {
            "event": delivery.event.to_json().decode(),
            "subscription": delivery.subscription,
            "topic": delivery.topic,
            "attempt": delivery.attempt,
            "facts": delivery.facts,
            "meta": dict(delivery.meta),
            "folded": delivery.folded.as_dict() if delivery.folded else None,
        }
        return json.dumps(self._request | about | {"outcome": outcome}, default=str).encode()

    def _report(self, ended: child_process.Ended, outcome: bytes) -> Report | None:
        result: dict[str, Any] = {"seconds": round(ended.seconds, 3)}
        if ended.octets:
            result |= {"output": ended.output.decode("utf-8", "replace"), "octets": ended.octets}
        if ended.left:
            result["left_behind"] = ended.left
        wire = _read(outcome)
        if "rejected" in wire:
            kept = wire.get("result")
            raise Rejected(str(wire["rejected"]), kept if isinstance(kept, dict) else {})
        if wire:
            report = results.from_wire(wire)
            return dataclasses.replace(report, result={**report.result, **result})
        timeout = durations.text(self._verb.timeout or self.timeout)
        if ended.was_interrupted:
            return None
        failure = ended.failure(timeout)
        if failure and (ended.code is None or ended.timed_out):
            return Report(*failure, result)
        assert ended.code is not None  # noqa: S101 - for mypy: None was handled above
        how = f"signal:{-ended.code}" if ended.code < 0 else f"exit:{ended.code}"
        what = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with exit code {ended.code}"
        return self._died(how, bounded(f"the function's process {what}, without an outcome{ended.tail()}"), result)

    def _died(self, failure: str, reason: str, result: Mapping[str, object]) -> Report:
        """Return the report of a process that ended without an outcome."""
        return Report(failure, reason, result)


class SuspectHandler(IsolatedHandler):
    """Calls a function for a delivery during which consumers died; gives that up if its process dies as well."""

    timeout = timedelta(days=1)

    def _died(self, failure: str, reason: str, result: Mapping[str, object]) -> Report:
        """Give the delivery up.  Raises Rejected."""
        what = f"{SUSPECT} consumers died during this delivery, and so did a process of its own ({failure}): {reason}"
        raise Rejected(bounded(what), result)


def _read(outcome: bytes) -> Mapping[str, Any]:
    try:
        wire = json.loads(outcome) if outcome else {}
    except (ValueError, RecursionError):
        # The process was killed while it wrote this, or wrote it to do harm.
        return {}
    return wire if isinstance(wire, dict) else {}
