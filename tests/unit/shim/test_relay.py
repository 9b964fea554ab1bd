"""The relay's small parts: losses that are told once, metrics, log lines, notices, what goes beside a record."""

import io
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.connection import Connection
from pika.frame import decode_frame
from pika.spec import Basic, BasicProperties

from shim.connection import Messages, diagnosis
from shim.inotify import FolderWatch
from shim.logs import set_up_logging
from shim.lost_records import LostRecords, tally
from shim.metrics import Metrics
from shim.records import Record
from shim.systemd_notify import SystemdNotifier
from tests.shim_relay import ROOT, make_spool, names

EPOCH = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"
_PARTS = ("method", "properties", "body_size", "fragment")
words = st.from_regex(r"[A-Za-z0-9_-]{1,100}", fullmatch=True)


@given(st.lists(st.tuples(words, st.integers(0, 2**63 - 1), st.binary(max_size=300)), max_size=5), words)
def test_messages_are_those_that_pika_would_have_sent(records: list[tuple[str, int, bytes]], user: str) -> None:
    pikas_own: list[bytes] = []
    connection = SimpleNamespace(
        params=SimpleNamespace(frame_max=108), _body_max_length=100, _output_marshaled_frames=pikas_own.extend
    )
    messages = Messages(SimpleNamespace(channel_number=7, connection=connection), "bus", EPOCH, user)
    ours: list[bytes] = []

    for event, sequence, body in records:
        ours += messages.of(Record("n", EPOCH, f"k.{event}", event, body, sequence))
        method = Basic.Publish(exchange="bus", routing_key=f"k.{event}", mandatory=True)
        properties = BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=EPOCH,
            user_id=user,
            app_id="clusterbus-relay",
            type=event,
            headers={"v": 1, "epoch": EPOCH, "sequence": sequence},
        )
        Connection._send_message(connection, 7, method, (properties, body))

    assert list(frames(b"".join(ours))) == list(frames(b"".join(pikas_own)))


def frames(stream: bytes) -> Iterator[tuple[object, ...]]:
    """What a peer reads in *stream*."""
    while stream:
        size, frame = decode_frame(stream)
        assert size, "the last frame is not whole"
        stream = stream[size:]
        yield frame.channel_number, *(getattr(frame, name, None) for name in _PARTS)


@given(st.binary(max_size=100), st.integers(0, 10**9))
def test_every_mark_of_a_loss_is_told_and_nothing_else(marks: bytes, total: int) -> None:
    losses = tally(marks, total)

    assert sum(each.count for each in losses) == sum(marks.count(mark) for mark in (b"f", b"d", b"e"))
    assert (losses[-1].total if losses else total) == total + sum(each.count for each in losses)


def test_losses_are_told_once_also_by_the_next_relay(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    losses = LostRecords(spool, tmp_path / "run")
    assert losses.unreported() == []
    with (spool / "lost").open("ab") as stream:
        stream.write(b"ffd")

    assert [(each.reason, each.count, each.total) for each in losses.unreported()] == [
        ("spool full", 2, 2),
        ("disk full", 1, 3),
    ]
    losses.confirm_reported()

    assert losses.unreported() == []
    again = LostRecords(spool, tmp_path / "run")
    assert again.unreported() == []
    with (spool / "lost").open("ab") as stream:
        stream.write(b"e")
    assert [each.total for each in again.unreported()] == [4]


def test_losses_that_were_not_told_yet_are_told_by_the_next_relay(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    losses = LostRecords(spool, tmp_path / "run")
    (spool / "lost").write_bytes(b".f")
    assert losses.unreported()

    assert LostRecords(spool, tmp_path / "run").unreported() == losses.unreported()


def test_losses_marked_outside_of_the_spool_are_told_again_from_the_start_after_a_reboot(tmp_path: Path) -> None:
    spool, run = make_spool(tmp_path), tmp_path / "run"
    run.mkdir()
    (run / "lost").write_bytes(b"eee")
    losses = LostRecords(spool, run)
    assert losses.unreported()[0].count == 3
    losses.confirm_reported()

    (run / "lost").write_bytes(b"e")

    assert [(each.count, each.total) for each in losses.unreported()] == [(1, 4)]


def test_events_in_the_last_file_are_noticed_each_time_there_are_more(tmp_path: Path) -> None:
    losses = LostRecords(make_spool(tmp_path), tmp_path)
    assert losses.newly_unsaved() == 0

    (tmp_path / "unsaved").write_bytes(b"12345")
    found = [losses.newly_unsaved(), losses.newly_unsaved()]
    (tmp_path / "unsaved").write_bytes(b"1234567")

    assert [*found, losses.newly_unsaved()] == [5, 0, 7]


def test_the_file_for_losses_has_its_block_before_the_disk_is_full(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)

    LostRecords(spool, tmp_path)

    assert (spool / "lost").read_bytes() == b"."


def test_what_is_remembered_of_losses_may_be_rubbish(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    (spool / "lost.reported").write_bytes(b"\x00\xff{")
    (spool / "lost").write_bytes(b".f")

    assert [each.count for each in LostRecords(spool, tmp_path).unreported()] == [1]


def test_metrics_are_a_text_that_prometheus_reads(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.count("confirmed", 7)
    metrics.set("up", 1)
    for seconds in (-1, 0.3, 20_000):
        metrics.observe(seconds)

    metrics.write(tmp_path / "relay.prom")

    text = (tmp_path / "relay.prom").read_text()
    assert "clusterbus_relay_confirmed_total 7\n" in text
    assert "clusterbus_relay_up 1\n" in text
    for line in ('bucket{le="0.001"} 1', 'bucket{le="0.5"} 2', 'bucket{le="+Inf"} 3', "sum 20000.3", "count 3"):
        assert f"clusterbus_relay_captured_to_confirmed_seconds_{line}\n" in text
    shape = r'# (HELP|TYPE) \S+ .+|[a-z_]+(\{le="[0-9.+Inf]+"\})? [0-9.e+]+'
    assert all(re.fullmatch(shape, each) for each in text.splitlines())
    assert names(tmp_path) == ["relay.prom"]


def test_an_unknown_metric_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics().count("confirmd")


def test_a_log_line_is_one_line_whatever_is_in_it() -> None:
    stream = io.StringIO()
    set_up_logging(stream)

    facts = {"file": 'a b\n"c"\udcff\x1b\x7f\x9b\u202e', "n": 5}
    logging.getLogger("clusterbus.relay.spool").warning("file is odd", extra=facts)

    [line] = stream.getvalue().splitlines()
    assert 'level=warning event="file is odd" logger=clusterbus.relay.spool ' in line
    assert line.endswith(r' file="a b\n\"c\"\udcff\u001b\u007f\u009b\u202e" n=5')


def test_what_is_put_into_a_folder_is_noticed(tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    watch = FolderWatch(new)

    (tmp_path / "a").touch()
    (tmp_path / "a").rename(new / "a")
    (new / "b").write_text("text")

    assert watch.read() == ["a", "b"]
    assert watch.read() == []
    watch.close()


def test_systemd_is_told_in_its_own_words(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"})

        notifier.ready()
        notifier.status("all well")
        notifier.status("all well")
        notifier.stopping()

        assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"STATUS=all well", b"STOPPING=1"]
    assert notifier.alive_every == 10


def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    SystemdNotifier({}).ready()
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()

    assert SystemdNotifier({"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).alive_every is None


def test_a_failure_of_tls_is_told_as_one_even_where_pika_calls_it_a_wrong_protocol() -> None:
    from pika.exceptions import IncompatibleProtocolError  # noqa: PLC0415 - only here

    _, kind = diagnosis(IncompatibleProtocolError("StreamLostError: SSLError(1, 'alert certificate required')"))

    assert kind == "insecure"


@pytest.mark.thorough
def test_the_relay_needs_no_more_than_python_3_9() -> None:
    files = [str(each) for each in (ROOT / "shim").glob("*.py")]

    told = subprocess.run(
        [sys.executable, "-c", "import vermin; vermin.main()", "-t=3.9-", "--no-tips", "--violations", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert told.returncode == 0, told.stdout


def test_the_relay_imports_the_standard_library_and_pika_only() -> None:
    program = "import sys, shim.relay; print(*sorted({each.partition('.')[0] for each in sys.modules}))"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=240
    )

    ours = {each for each in told.stdout.split() if each not in sys.stdlib_module_names and not each.startswith("_")}
    assert ours - {"sitecustomize", "usercustomize", "six"} == {"pika", "shim"}
