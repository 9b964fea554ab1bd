"""Calls a function in a short-lived process of its own, so that nothing it does can harm the consumer.

The request goes through standard input, the outcome comes through a file of its own that is nowhere on disk, and what
the function prints is kept apart from both.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from router import durations

from ... import children, processes
from ...deliveries import Delivery, Report, bounded
from ...errors import Rejected
from ...handlers import loaded_source
from .. import Handler, Surroundings
from . import TIMEOUT, CallVerb, results
from .function import found, shown

log = logging.getLogger(__name__)

_LARGEST_OUTCOME = 1_048_576
_CHILD = "consumers.verbs.call.child"


class IsolatedHandler(Handler):
    """Calls the function of one subscription, each time in a process of its own."""

    def __init__(self, verb: CallVerb, surroundings: Surroundings) -> None:
        """Find the function here as well, so that what is wrong is told before an event comes."""
        self._verb, self._stopping = verb, surroundings.stopping
        target, self._arguments, _ = found(verb, surroundings)
        # The child calls what was checked, also where the file has been edited since.
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
        """Call it; None where it was broken off by a stop."""
        if delivery.repeated and (left := children.end(delivery.mark)):
            log.warning("ended what a killed consumer left running", extra={"mark": delivery.mark, "processes": left})
        outcome = os.memfd_create("outcome", os.MFD_CLOEXEC)
        try:
            ended = processes.run(self._command(delivery, outcome), self._feed(delivery, outcome), self._stopping)
            return self._report(ended, os.pread(outcome, _LARGEST_OUTCOME, 0))
        finally:
            os.close(outcome)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the function, and its arguments as they would be filled in."""
        return {"function": self._verb.function, "arguments": shown(self._arguments(delivery)), "isolate": True}

    def _command(self, delivery: Delivery, outcome: int) -> processes.Command:
        # The consumer's environment, as a function has it that is not isolated, but for our own settings.
        environment = {name: text for name, text in os.environ.items() if not name.startswith("CLUSTERBUS_")}
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)  # noqa: PTH100 - entries of the path are texts
        return processes.Command(
            words=[sys.executable, "-P", "-s", "-m", _CHILD],
            environment={**environment, "PYTHONPATH": path},
            mark=delivery.mark,
            timeout=self._verb.timeout or TIMEOUT,
            grace=processes.GRACE,
            output=results.LARGEST,
            keep=(outcome,),
        )

    def _feed(self, delivery: Delivery, outcome: int) -> bytes:
        about = {
            "event": delivery.event.to_json().decode(),
            "subscription": delivery.subscription,
            "topic": delivery.topic,
            "attempt": delivery.attempt,
            "folded": dataclasses.asdict(delivery.folded) if delivery.folded else None,
        }
        return json.dumps(self._request | about | {"outcome": outcome}).encode()

    def _report(self, ended: processes.Ended, outcome: bytes) -> Report | None:
        result: dict[str, Any] = {"seconds": round(ended.seconds, 3)}
        if ended.octets:
            result |= {"output": ended.output.decode("utf-8", "replace"), "octets": ended.octets}
        if ended.left:
            result["left_behind"] = ended.left
        wire = _read(outcome)
        if "rejected" in wire:
            raise Rejected(str(wire["rejected"]))
        if wire:
            report = results.from_wire(wire)
            return dataclasses.replace(report, result={**report.result, **result})
        timeout = durations.text(self._verb.timeout or TIMEOUT)
        if ended.is_broken_off:
            return None
        failure = ended.failure(timeout)
        if failure and (ended.code is None or ended.timed_out):
            return Report(*failure, result)
        assert ended.code is not None  # noqa: S101 - for the reader: what cannot be killed was told above
        how = f"signal:{-ended.code}" if ended.code < 0 else f"exit:{ended.code}"
        what = f"ended by signal {-ended.code}" if ended.code < 0 else f"left with exit code {ended.code}"
        return Report(how, bounded(f"the function's process was {what}, without an outcome{ended.tail()}"), result)


def _read(outcome: bytes) -> Mapping[str, Any]:
    try:
        wire = json.loads(outcome) if outcome else {}
    except ValueError:
        # Written by a process that was killed in the middle of it.
        return {}
    return wire if isinstance(wire, dict) else {}
