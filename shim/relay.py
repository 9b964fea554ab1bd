"""The relay: a small daemon that carries the records of this node's spool to the broker.

    clusterbus-relay --spool DIR --cluster NAME --broker URL [...]

It sleeps until the file system or the broker has something to say.  Exit status: 0 stopped as told, 1 the spool cannot
be used, 2 used wrongly.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from . import capture
from .connection import IOLoop
from .logs import set_up_logging
from .losses import Losses
from .metrics import Metrics
from .publisher import Publisher
from .records import Record
from .settings import Settings, SettingsError, load
from .spool import Spool, SpoolUnusable
from .supervisor import Supervisor
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("clusterbus.relay")

SOURCE = "clusterbus"
_FLUSH = 5.0
_METRICS_EVERY = 10.0
_JOURNAL_AGAIN = 5.0
_REPORTS_AT_ONCE = 20  # recordUnreadable, between two rescans: more are only logged, counted and kept in bad/
_UNBOUNDED = float("inf")


class Relay:
    """Spool, publisher and reports, held together by one loop."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        """Take hold of the spool; raises SpoolUnusable."""
        self._settings, self._supervisor = settings, supervisor
        self._spool = Spool(settings.spool, settings.cluster)
        try:
            self._watch = Watch(settings.spool / "new")
            self._losses = Losses(settings.spool, settings.run)
        except OSError as error:
            self._spool.close()
            raise SpoolUnusable(f"the spool {settings.spool} cannot be watched: {error}") from error
        self._metrics = Metrics()
        self._loop = IOLoop()
        self._publisher = Publisher(self._loop, settings, self, self._metrics)
        self._reports_left = _REPORTS_AT_ONCE
        self._wake_at: object = None
        self._metrics_due: object = None
        self._shown = -1

    @property
    def epoch(self) -> str:
        """The id of the spool's life."""
        return self._spool.epoch

    @property
    def following(self) -> int:
        """The sequence number that the next new record gets."""
        return self._spool.following

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        wake, woken = socket.socketpair()
        for each in (wake, woken):
            each.setblocking(False)  # noqa: FBT003 - the socket's own interface
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)  # what matters is the byte that it leaves in the socket
        self._loop.add_handler(woken.fileno(), self._on_signal, IOLoop.READ)
        self._loop.add_handler(self._watch.fileno(), self._on_notice, IOLoop.READ)
        log.info(
            "relay started",
            extra={"spool": self._settings.spool, "epoch": self.epoch, "following": self.following},
        )
        self._supervisor.ready()
        self._keep_alive()
        self._rescan()
        self._heartbeat()
        try:
            self._loop.start()
        finally:
            signal.set_wakeup_fd(-1)
            self._loop.close()
            self._write_metrics()
            self._watch.close()
            self._spool.close()
            wake.close()
            woken.close()
        log.info("relay stopped", extra={"following": self.following})

    # what the publisher asks and tells

    def records(self, count: int, size: int) -> Sequence[Record]:
        """Return the next records of the spool."""
        try:
            taken = self._spool.take(count, size)
        except OSError as error:
            self._metrics.count("unnumbered")
            log.error("journal cannot be written, nothing is sent", extra={"error": str(error)})  # noqa: TRY400 - the sentence says it
            self._wake_in(_JOURNAL_AGAIN)
            return ()
        for name, reason in taken.unreadable:
            self._metrics.count("bad")
            self._report_unreadable(name, reason)
        if not taken.records and self._spool.more:
            self._wake_in(0)
        self._metrics_changed()
        return taken.records

    def confirmed(self, records: Sequence[Record]) -> None:
        """Remove *records*: the broker has them."""
        for record in records:
            if record.spooled:
                self._spool.remove(record.name)
        self._metrics.set("last_confirm_timestamp_seconds", time.time())
        self._metrics_changed()

    def hopeless(self, record: Record, reason: str) -> None:
        """Set *record* aside: the broker will never take it."""
        if self._spool.set_aside(record.name, reason):
            self._report_unreadable(record.name, reason)

    # reports

    def _report_unreadable(self, name: str, reason: str) -> None:
        # Bounded, so that files that are bad because of something general do not beget as many reports, which might
        # be bad for the same reason.
        if self._reports_left > 0:
            self._reports_left -= 1
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            self._put("recordUnreadable", "--file", shown, "--reason", reason)

    def _report_losses(self) -> None:
        losses = self._losses.news()
        for loss in losses:
            facts = ("--count", str(loss.count), "--reason", loss.reason, "--total", str(loss.total))
            if not self._put("eventsLost", *facts):
                return
            self._metrics.count("lost", loss.count)
            log.error("captures were lost", extra={"count": loss.count, "reason": loss.reason, "total": loss.total})
        if losses:
            try:
                self._losses.told()
            except OSError as error:
                log.warning("told losses cannot be remembered, will be told again", extra={"error": str(error)})

    def _put(self, event: str, *arguments: str) -> bool:
        """Store a report of our own in the spool, as capture would; return False where that fails."""
        try:
            capture.put(str(self._settings.spool), self._record(event, arguments), _UNBOUNDED, _UNBOUNDED)
        except (OSError, capture.Full, capture.Unsafe) as error:
            log.warning("report cannot be stored", extra={"report": event, "error": str(error)})
            return False
        return True

    def _record(self, event: str, arguments: Sequence[str]) -> capture.Record:
        raw = [each.encode("utf-8", "backslashreplace") for each in arguments]
        return capture.record_now(SOURCE, event, raw, self._settings.node)

    def _heartbeat(self) -> None:
        if self._settings.heartbeat:
            record = self._record("heartbeat", ())
            key = f"{SOURCE}.{self._settings.cluster}.heartbeat.{record.node}"
            body = capture.encode(record)
            self._publisher.say(Record("", record.id, key, "heartbeat", body, 0, spooled=False))
            self._loop.call_later(self._settings.heartbeat.total_seconds(), self._heartbeat)

    # the loop's calls

    def _on_signal(self, descriptor: int, _: int) -> None:
        os.read(descriptor, 100)
        self._supervisor.stopping()
        log.info("relay is to stop", extra={"unsettled": self._publisher.unsettled})
        self._publisher.finish(_FLUSH, self._loop.stop)

    def _on_notice(self, _: int, __: int) -> None:
        names = self._watch.read()
        if names is None:
            self._spool.rescan()
        else:
            self._spool.notice(names)
        self._publisher.wake()

    def _rescan(self) -> None:
        """Look at everything, in case a notice was lost or an error is over."""
        self._reports_left = _REPORTS_AT_ONCE
        self._spool.clean()
        self._report_losses()
        self._spool.rescan()
        if self._settings.linger:
            files, _ = self._spool.survey()
            if files:
                self._publisher.wake()
        else:
            self._publisher.wake()
        self._metrics_changed()
        self._loop.call_later(self._settings.rescan.total_seconds(), self._rescan)

    def _wake_in(self, delay: float) -> None:
        if self._wake_at is None:
            self._wake_at = self._loop.call_later(delay, self._woken)

    def _woken(self) -> None:
        self._wake_at = None
        self._publisher.wake()

    def _keep_alive(self) -> None:
        if self._supervisor.alive_every:
            self._supervisor.alive()
            self._loop.call_later(self._supervisor.alive_every, self._keep_alive)

    def _metrics_changed(self) -> None:
        if self._metrics_due is None:
            self._metrics_due = self._loop.call_later(_METRICS_EVERY, self._write_metrics)

    def _write_metrics(self) -> None:
        self._metrics_due = None
        files, oldest = self._spool.survey()
        where = repr(self._publisher.broker) if self._publisher.ready else "no broker"
        self._supervisor.status(f"{files} files in the spool, {where}")
        if self._settings.metrics is None:
            return
        self._metrics.set("spooled_files", files)
        self._metrics.set("unsettled", self._publisher.unsettled)
        self._metrics.set("oldest_age_seconds", 0 if oldest is None else max(0.0, time.time() - oldest))
        try:
            self._metrics.write(self._settings.metrics)
        except OSError as error:
            log.warning("metrics cannot be written", extra={"file": self._settings.metrics, "error": str(error)})


def _ignore(_: int, __: object) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run the relay with the arguments *argv* (default: the process's own) and return its exit status."""
    set_up_logging(sys.stderr)
    try:
        settings = load(sys.argv[1:] if argv is None else argv, os.environ)
        relay = Relay(settings, Supervisor(os.environ))
    except SettingsError as error:
        log.critical("settings cannot be used", extra={"reason": str(error)})
        return 2
    except SpoolUnusable as error:
        log.critical("spool cannot be used", extra={"reason": str(error)})
        return 1
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
