"""The relay as a process, with a real broker: what it publishes, what it reports, how it idles, how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from router.broker.topology import INGRESS
from tests.proxy import Mode, Proxy
from tests.rabbit import RabbitAdmin, Taken
from tests.shim_relay import (
    PATIENCE,
    ROOT,
    RelayProcess,
    drained,
    ingress,
    make_spool,
    put,
    put_many,
    reported,
    waiting,
)
from tests.waiting import SLACK, wait_for


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An empty spool."""
    return make_spool(tmp_path)


def test_a_record_is_published_as_it_is_with_what_the_contract_says(spool: Path, vhost_url: str) -> None:
    record_id = put(spool, "--fsName", "gpfs1", "ü", "a b")
    body = (spool / "new" / waiting(spool)[0]).read_bytes()

    with ingress(vhost_url) as tap, RelayProcess(spool, vhost_url) as relay:
        [taken] = drained(tap, 1)
        relay.wait_until_empty()

    assert taken.key == "gpfs.prod.softQuotaExceeded.nsd01"
    assert taken.body == body
    facts = taken.properties
    assert (facts.message_id, facts.type, facts.app_id) == (record_id, "softQuotaExceeded", "clusterbus-relay")
    assert (facts.delivery_mode, facts.content_type) == (2, "application/json")
    assert facts.user_id == urlsplit(vhost_url).username
    assert taken.headers["v"] == 1
    assert taken.headers["sequence"] == 1
    assert len(taken.headers["epoch"]) == 26


def test_records_that_come_later_wake_it_in_their_order(spool: Path, vhost_url: str) -> None:
    with ingress(vhost_url) as tap, RelayProcess(spool, vhost_url, options=["--rescan", "3000"]) as relay:
        relay.wait_until_said("broker connected")
        ids = put_many(spool, 700)
        taken = drained(tap, 700)
        relay.wait_until_empty()

    assert [each.properties.message_id for each in taken] == ids
    assert [each.headers["sequence"] for each in taken] == list(range(1, 701))


def test_many_waiting_records_cost_no_more_memory_than_few(spool: Path, vhost_url: str) -> None:
    put_many(spool, 5_000)

    with ingress(vhost_url), RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_empty(60)
        memory = relay.memory

    assert memory <= 30 * 1024


def test_an_idle_relay_takes_no_processor_time(spool: Path, vhost_url: str) -> None:
    put(spool)
    with ingress(vhost_url), RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_empty()
        switches = _switches(relay.process.pid)
        ticks = relay.ticks

        with pytest.raises(subprocess.TimeoutExpired):  # the time in which nothing is to happen
            relay.process.wait(2)

        assert relay.ticks - ticks <= 1
        assert _switches(relay.process.pid) - switches <= 10


def test_an_idle_connection_is_dropped_and_made_again_for_the_next_record(
    spool: Path, vhost_url: str, proxy: Callable[[str], Proxy]
) -> None:
    line = proxy(vhost_url)
    put(spool)
    with ingress(vhost_url) as tap, RelayProcess(spool, line.url, options=["--linger", "0.2"]) as relay:
        relay.wait_until_said("idle connection dropped")
        wait_for(lambda: line.open_connections == 0, 10, "the connection is closed")

        record_id = put(spool)

        taken = drained(tap, 2)
        relay.wait_until_empty()
        relay.wait_until_said("idle connection dropped", times=2)
    assert taken[1].properties.message_id == record_id
    assert line.connections == 2


def test_heartbeats_go_past_the_spool_and_carry_the_last_sequence(spool: Path, vhost_url: str) -> None:
    put_many(spool, 3)
    beats: list[Taken] = []

    def beat() -> bool:
        beats.extend(each for each in tap.drain(INGRESS) if each.properties.type == "heartbeat")
        return any(each.headers["sequence"] == 3 for each in beats)

    with ingress(vhost_url) as tap, RelayProcess(spool, vhost_url, options=["--heartbeat", "0.2"]) as relay:
        relay.wait_until_empty()
        wait_for(beat, 10, "a heartbeat that carries 3")
        put(spool)
        relay.wait_until_empty()
        wait_for(lambda: beat() or any(each.headers["sequence"] == 4 for each in beats), 10, "one that carries 4")

    assert beats[-1].key == "clusterbus.prod.heartbeat.nsd01"
    assert json.loads(beats[-1].body)["event"] == "heartbeat"


def test_a_file_that_is_no_record_is_reported_on_the_bus(spool: Path, vhost_url: str) -> None:
    (spool / "new" / "junk").write_bytes(b"\xff")
    good = put(spool)

    with ingress(vhost_url) as tap, RelayProcess(spool, vhost_url) as relay:
        taken = drained(tap, 2)
        relay.wait_until_empty()

    assert taken[0].properties.message_id == good
    report = json.loads(taken[1].body)
    assert (report["source"], report["event"], report["node"]) == ("clusterbus", "recordUnreadable", "nsd01")
    assert report["arguments"][:3] == ["--file", "junk", "--reason"]
    assert [each.headers["sequence"] for each in taken] == [1, 2]


def test_lost_captures_are_reported_once(spool: Path, vhost_url: str) -> None:
    with ingress(vhost_url) as tap:
        (spool / "lost").write_bytes(b".ffd")
        with RelayProcess(spool, vhost_url) as relay:
            taken = drained(tap, 2)
            relay.wait_until_empty()
            relay.terminate()
        with RelayProcess(spool, vhost_url, options=["--rescan", "0.1"]) as relay:
            relay.wait_until_said("broker connected")
            with (spool / "lost").open("ab") as stream:
                stream.write(b"e")
            taken += drained(tap, 1)

    told = [json.loads(each.body)["arguments"] for each in taken]
    assert told == [
        ["--count", "2", "--reason", "spool full", "--total", "2"],
        ["--count", "1", "--reason", "disk full", "--total", "3"],
        ["--count", "1", "--reason", "error; see syslog, or /run/clusterbus/unsaved", "--total", "4"],
    ]


def test_metrics_tell_what_happened(spool: Path, vhost_url: str, tmp_path: Path) -> None:
    put_many(spool, 5)
    (spool / "new" / "junk").touch()
    with (
        ingress(vhost_url),
        RelayProcess(spool, vhost_url, options=["--metrics", str(tmp_path / "relay.prom")]) as relay,
    ):
        relay.wait_until_empty()
        assert relay.terminate() == 0

    text = (tmp_path / "relay.prom").read_text()
    latency = "captured_to_confirmed_seconds_count 6"
    for line in ("confirmed_total 6", "published_total 6", "bad_total 1", "spooled_files 0", "nacked_total 0", latency):
        assert f"clusterbus_relay_{line}\n" in text


def test_told_to_stop_it_waits_for_the_confirms_that_are_due(
    spool: Path, vhost_url: str, proxy: Callable[[str], Proxy]
) -> None:
    line = proxy(vhost_url)
    with ingress(vhost_url) as tap, RelayProcess(spool, line.url, options=["--progress-limit", "30"]) as relay:
        relay.wait_until_said("broker connected")
        line.mode = line.mode.STALL_IN
        put_many(spool, 20)
        wait_for(lambda: tap.count(INGRESS) == 20, 10, "all are published")
        relay.process.send_signal(signal.SIGTERM)
        relay.wait_until_said("relay is stopping")
        assert len(waiting(spool)) == 20

        line.mode = line.mode.PASS

        assert relay.wait() == 0
    assert waiting(spool) == []


def test_told_to_stop_it_leaves_without_a_broker_too(spool: Path, broker: object) -> None:
    del broker  # only so that the whole file is skipped alike
    put(spool)
    with RelayProcess(spool, "amqp://guest:guest@127.0.0.1:1/") as relay:
        relay.wait_until_said("broker unreachable")

        assert relay.terminate() == 0
    assert len(waiting(spool)) == 1


def test_a_spool_on_a_file_system_of_the_network_is_named_and_used_all_the_same(spool: Path, tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(f"36 35 0:35 / {spool.parent} rw - nfs4 filer:/spools rw\n")
    mounts = "import pathlib, shim.file_systems as there; there.network_type.__defaults__ = (pathlib.Path({!r}),)"

    with RelayProcess(
        spool, "amqp://bus:secret@127.0.0.1:1", sabotage=mounts.format(str(tmp_path / "mounts"))
    ) as relay:
        relay.wait_until_said("the spool is on a file system of the network, which may hang; use a local disk")
        said = relay.log
        assert relay.terminate() == 0

    assert "nfs4" in said
    assert str(spool) in said


def test_a_second_relay_on_a_spool_is_refused(spool: Path, vhost_url: str) -> None:
    with ingress(vhost_url), RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_said("broker connected")
        with RelayProcess(spool, vhost_url) as second:
            assert second.wait() == 1
            assert "another relay uses the spool" in second.log

        put(spool)
        relay.wait_until_empty()


def test_the_password_comes_from_a_file_and_is_never_logged(
    spool: Path, vhost: str, vhost_url: str, rabbit_admin: RabbitAdmin, tmp_path: Path
) -> None:
    user = f"node-{vhost}"
    rabbit_admin.add_user(user, "right-secret", vhost)
    secret = tmp_path / "secret"
    secret.write_text("wrong-secret\n")
    secret.chmod(0o600)
    url = f"amqp://{user}@" + vhost_url.rpartition("@")[2]
    try:
        with ingress(vhost_url) as tap, RelayProcess(spool, url, options=["--password-file", str(secret)]) as relay:
            put(spool)
            relay.wait_until_said("broker denied the connection")

            secret.write_text("right-secret\n")

            [taken] = drained(tap, 1)
            relay.wait_until_empty()
    finally:
        rabbit_admin.delete_user(user)
    assert taken.properties.user_id == user
    assert "-secret" not in relay.log


def test_wrong_use_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shim.relay", "--allow-root", "--cluster", "a.b", "--spool", str(tmp_path)]
    done = subprocess.run(
        [*command, "--broker", "amqp://a:b@127.0.0.1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30 * SLACK,
    )

    assert done.returncode == 2
    assert "settings are not usable" in done.stderr
    assert "Traceback" not in done.stderr


def _switches(pid: int) -> int:
    """Return how often the process went to sleep of its own accord: how often it was woken."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])


def test_the_state_of_its_connection_is_in_the_spool_as_long_as_it_runs(spool: Path, vhost_url: str) -> None:
    with ingress(vhost_url), Proxy(vhost_url) as proxy, RelayProcess(spool, proxy.url) as relay:
        good = wait_for(lambda: told_of(spool, ""), PATIENCE, "the relay is connected")
        assert good["broker"].startswith(f"amqp://{urlsplit(vhost_url).username}@127.0.0.1:{proxy.port}/")
        assert f":{urlsplit(vhost_url).password}@" not in (spool / "connection").read_text()
        assert abs(good["since"] - time.time()) < 600
        assert good["until"] > time.time()

        proxy.mode = Mode.REFUSE
        proxy.reset()

        bad = wait_for(lambda: told_of(spool, "broker unreachable: "), PATIENCE, "the relay says why not")
        assert bad["since"] >= good["since"]
        proxy.mode = Mode.PASS
        wait_for(lambda: told_of(spool, ""), PATIENCE, "the relay is connected again")
        assert relay.terminate() == 0

    assert not (spool / "connection").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda url: url.replace(f":{urlsplit(url).password}@", ":wrong@"), "broker denied the connection: "),
        (lambda url: f"{url}-absent", "broker denied the connection: "),
    ],
    ids=["password", "virtual host"],
)
def test_each_reason_has_words_of_its_own(spool: Path, vhost_url: str, spoil: Callable[[str], str], words: str) -> None:
    with RelayProcess(spool, spoil(vhost_url)):
        wait_for(lambda: told_of(spool, words), PATIENCE, words)


def test_a_broker_that_has_no_exchange_for_records_is_not_called_good(spool: Path, vhost_url: str) -> None:
    put(spool)

    with RelayProcess(spool, vhost_url):
        wait_for(lambda: told_of(spool, "broker has no exchange for records: "), PATIENCE, "it says so")


def told_of(spool: Path, words: str) -> dict[str, Any] | None:
    """Return what the relay tells if its problem begins with *words*, or if both are empty."""
    found = reported(spool)
    problem = found.get("problem")
    return found if problem is not None and (problem.startswith(words) if words else not problem) else None
