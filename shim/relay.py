"""The relay: a small daemon that moves the records of this node's spool to the broker.

    clusterbus-relay --spool DIR --cluster NAME --broker URL [...]

It sleeps until the file system or the broker reports something.  Exit status: 0 stopped by a signal, 1 the spool is
not usable, 2 the settings or options are wrong.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from . import capture
from .connection import IOLoop
from .connection_report import ConnectionReport
from .file_systems import network_type
from .inotify import FolderWatch
from .logs import set_up_logging
from .lost_records import LostRecords
from .metrics import Metrics
from .publisher import Publisher
from .records import Record, captured_at
from .settings import Settings, SettingsError, load
from .spool import Spool, SpoolUnusable
from .systemd_notify import SystemdNotifier

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("clusterbus.relay")

SOURCE = "clusterbus"
_FLUSH = 5.0
_METRICS_EVERY = 10.0
_JOURNAL_AGAIN = 5.0
_REPORTS_AT_ONCE = 20  # recordUnreadable events between two rescans; more are only logged, counted and kept in bad/
_UNBOUNDED = float("inf")


class Relay:
    """Spool, publisher and reports in one event loop."""

    def __init__(self, settings: Settings, systemd: SystemdNotifier) -> None:
        """Lock the spool; raises SpoolUnusable."""
        self._settings, self._systemd = settings, systemd
        self._spool = Spool(settings.spool, settings.cluster)
        try:
            self._watch = FolderWatch(settings.spool / "new")
            self._lost = LostRecords(settings.spool, settings.run)
        except OSError as error:
            self._spool.close()
            raise SpoolUnusable(f"cannot watch the spool {settings.spool}: {error}") from error
        self._metrics = Metrics()
        # Written with the metrics, which follow each scan.
        lasting = settings.rescan.total_seconds() + 6 * _METRICS_EVERY
        self._report = ConnectionReport(settings.spool, systemd, lasting)
        self._loop = IOLoop()
        self._publisher = Publisher(self._loop, settings, self, self._metrics)
        self._reports_left = _REPORTS_AT_ONCE
        self._wake_at: object = None
        self._metrics_due: object = None

    @property
    def epoch(self) -> str:
        """The id of the spool's life."""
        return self._spool.epoch

    @property
    def following(self) -> int:
        """The sequence number that the next new record gets."""
        return self._spool.following

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        wake, woken = socket.socketpair()
        for each in (wake, woken):
            each.setblocking(False)  # noqa: FBT003 - the socket's own interface
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)  # the loop reads the byte that the signal writes to the socket
        self._loop.add_handler(woken.fileno(), self._on_signal, IOLoop.READ)
        self._loop.add_handler(self._watch.fileno(), self._on_notice, IOLoop.READ)
        log.info(
            "relay started", extra={"spool": self._settings.spool, "epoch": self.epoch, "following": self.following}
        )
        if kind := network_type(self._settings.spool):
            facts = {"spool": self._settings.spool, "type": kind}
            log.warning("the spool is on a file system of the network, which may hang; use a local disk", extra=facts)
        for broker in self._settings.brokers:
            if not broker.secure and not broker.local:
                log.warning("this broker is reached without encryption; use amqps://", extra={"broker": broker})
        self._systemd.ready()
        self._keep_alive()
        self._rescan()
        self._heartbeat()
        try:
            self._loop.start()
        finally:
            signal.set_wakeup_fd(-1)
            self._loop.close()
            self._write_metrics()
            self._report.remove()
            self._watch.close()
            self._spool.close()
            wake.close()
            woken.close()
        log.info("relay stopped", extra={"following": self.following})

    # calls from the publisher

    def records(self, count: int, size: int) -> Sequence[Record]:
        """Return the next records of the spool."""
        try:
            taken = self._spool.take(count, size)
        except OSError as error:
            self._metrics.count("unnumbered")
            log.error("cannot write the journal, sending stops", extra={"error": str(error)})  # noqa: TRY400 - the sentence says it
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
        """Remove *records* from the spool: the broker has them."""
        now = time.time()
        for record in records:
            if record.spooled:
                self._spool.remove(record.name)
                if self._settings.metrics:
                    self._metrics.observe(now - (captured_at(record.name) or now))
        self._metrics.set("last_confirm_timestamp_seconds", now)
        self._metrics_changed()

    def hopeless(self, record: Record, reason: str) -> None:
        """Move *record* to `bad/`: the broker will never accept it."""
        if self._spool.set_aside(record.name, reason):
            self._report_unreadable(record.name, reason)

    def standing(self, broker: str, problem: str) -> None:
        """Tell whether *broker* takes records, or what the *problem* is."""
        if self._report.note(broker, problem):
            self._report.write(self._spool.survey()[0])

    # reports

    def _report_unreadable(self, name: str, reason: str) -> None:
        # Limited: a common cause may make every file bad, and the reports of those files as well.
        if self._reports_left > 0:
            self._reports_left -= 1
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            self._put("recordUnreadable", "--file", shown, "--reason", reason)

    def _report_losses(self) -> None:
        unsaved = self._lost.newly_unsaved()
        if unsaved:
            file = self._settings.run / capture.UNSAVED
            log.error(
                "neither spool nor syslog took events; root can read them", extra={"file": file, "bytes": unsaved}
            )
        losses = self._lost.unreported()
        for loss in losses:
            facts = ("--count", str(loss.count), "--reason", loss.reason, "--total", str(loss.total))
            if not self._put("eventsLost", *facts):
                return
            self._metrics.count("lost", loss.count)
            log.error("captures were lost", extra={"count": loss.count, "reason": loss.reason, "total": loss.total})
        if losses:
            try:
                self._lost.confirm_reported()
            except OSError as error:
                log.warning("cannot mark losses as reported, will report them again", extra={"error": str(error)})

    def _put(self, event: str, *arguments: str) -> bool:
        """Store a report of the relay itself in the spool, as capture would; return False if that fails."""
        try:
            capture.put(str(self._settings.spool), self._record(event, arguments), _UNBOUNDED, _UNBOUNDED)
        except (OSError, capture.Full, capture.Unsafe) as error:
            log.warning("cannot store a report in the spool", extra={"report": event, "error": str(error)})
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
            self._publisher.publish_unspooled(Record("", record.id, key, "heartbeat", body, 0, spooled=False))
            self._loop.call_later(self._settings.heartbeat.total_seconds(), self._heartbeat)

    # calls from the loop

    def _on_signal(self, descriptor: int, _: int) -> None:
        os.read(descriptor, 100)
        self._systemd.stopping()
        log.info("relay is stopping", extra={"unsettled": self._publisher.unsettled})
        self._publisher.finish(_FLUSH, self._loop.stop)

    def _on_notice(self, _: int, __: int) -> None:
        names = self._watch.read()
        if names is None:
            self._spool.rescan()
        else:
            self._spool.notice(names)
        self._publisher.wake()

    def _rescan(self) -> None:
        """Scan the whole spool, in case a notice was lost or an error has ended."""
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
        if self._systemd.alive_every:
            self._systemd.alive()
            self._loop.call_later(self._systemd.alive_every, self._keep_alive)

    def _metrics_changed(self) -> None:
        if self._metrics_due is None:
            self._metrics_due = self._loop.call_later(_METRICS_EVERY, self._write_metrics)

    def _write_metrics(self) -> None:
        self._metrics_due = None
        files, oldest = self._spool.survey()
        self._report.write(files)
        if self._settings.metrics is None:
            return
        self._metrics.set("spooled_files", files)
        self._metrics.set("unsettled", self._publisher.unsettled)
        self._metrics.set("oldest_age_seconds", 0 if oldest is None else max(0.0, time.time() - oldest))
        try:
            self._metrics.write(self._settings.metrics)
        except OSError as error:
            log.warning("cannot write the metrics", extra={"file": self._settings.metrics, "error": str(error)})


def _ignore(_: int, __: object) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run the relay with the arguments *argv* (default: the process's own) and return its exit status."""
    set_up_logging(sys.stderr)
    # An image of its memory would have passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        settings = load(sys.argv[1:] if argv is None else argv, os.environ)
        set_up_logging(sys.stderr, settings.log_format)
        relay = Relay(settings, SystemdNotifier(os.environ))
    except SettingsError as error:
        log.critical("settings are not usable", extra={"reason": str(error)})
        return 2
    except SpoolUnusable as error:
        log.critical("spool is not usable", extra={"reason": str(error)})
        return 1
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
