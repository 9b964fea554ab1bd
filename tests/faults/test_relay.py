"""No record is lost, has two ids or two numbers, whatever happens to the relay, to the broker or in between."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.broker.topology import INGRESS
from router.local_broker.private_broker import PrivateBroker
from tests.conftest import missing
from tests.proxy import Mode, Proxy
from tests.rabbit import RabbitAdmin, Tap
from tests.shim_relay import (
    RelayProcess,
    assert_complete,
    drained,
    first_arrivals,
    ingress,
    make_spool,
    names,
    put,
    put_many,
    waiting,
)
from tests.waiting import wait_for

QUICK = ("--progress-limit", "1", "--longest-delay", "0.2")
NO_ONE = "amqp://guest@127.0.0.1:1/"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An empty spool."""
    return make_spool(tmp_path)


@pytest.fixture
def tap(vhost_url: str) -> Iterator[Tap]:
    """A look into the ingress queue of the test's own virtual host."""
    with ingress(vhost_url) as tap:
        yield tap


# the relay is killed


def test_a_relay_killed_before_its_records_reached_the_broker_sends_them_under_the_same_numbers(
    spool: Path, vhost_url: str, tap: Tap, proxy: Callable[[str], Proxy]
) -> None:
    line = proxy(vhost_url)
    with RelayProcess(spool, line.url) as relay:
        relay.wait_until_said("broker connected")
        line.mode = Mode.SWALLOW_OUT
        ids = put_many(spool, 50)
        wait_for(lambda: _numbered(spool) == 50, 10, "all records have their numbers")
        relay.kill()
    assert tap.count(INGRESS) == 0
    ids += put_many(spool, 10)

    with RelayProcess(spool, vhost_url) as relay:
        taken = drained(tap, 60)
        relay.wait_until_empty()

    assert_complete(taken, ids)
    assert first_arrivals(taken) == ids


def test_a_relay_killed_between_publish_and_confirm_sends_again_the_same(
    spool: Path, vhost_url: str, tap: Tap, proxy: Callable[[str], Proxy]
) -> None:
    line = proxy(vhost_url)
    with RelayProcess(spool, line.url, options=["--progress-limit", "60"]) as relay:
        relay.wait_until_said("broker connected")
        line.mode = Mode.SWALLOW_IN
        ids = put_many(spool, 40)
        wait_for(lambda: tap.count(INGRESS) == 40, 10, "all are with the broker")
        relay.kill()
    assert len(waiting(spool)) == 40

    with RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_empty()
        wait_for(lambda: tap.count(INGRESS) == 80, 10, "all were sent again")

    assert_complete(tap.drain(INGRESS), ids)


def test_a_relay_killed_between_confirm_and_removal_sends_again_the_same(spool: Path, vhost_url: str, tap: Tap) -> None:
    ids = put_many(spool, 30)
    dies = "import os, signal; os.unlink = lambda name, **at: '.json' in name and os.kill(os.getpid(), signal.SIGKILL)"

    with RelayProcess(spool, vhost_url, sabotage=dies) as relay:
        assert relay.wait() == -9
    assert len(waiting(spool)) == 30
    with RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_empty()

    assert_complete(drained(tap, 30), ids)


def test_a_relay_killed_again_and_again_loses_nothing(spool: Path, vhost_url: str, tap: Tap) -> None:
    ids = put_many(spool, 600)
    left = 600
    for share in (500, 300, 100):
        with RelayProcess(spool, vhost_url) as relay:
            _wait_until_left(spool, share)
            relay.kill()
        left = len(waiting(spool))
        ids += put_many(spool, 50)

    with RelayProcess(spool, vhost_url) as relay:
        taken = drained(tap, len(ids))
        relay.wait_until_empty()
    assert left < 600
    assert_complete(taken, ids)


# the broker is gone, or silent


@pytest.mark.long
def test_what_is_captured_while_the_broker_is_down_arrives_in_order_when_it_is_back(
    spool: Path, own_broker: PrivateBroker
) -> None:
    with ingress(own_broker.url) as tap:
        pass
    with RelayProcess(spool, own_broker.url) as relay:
        relay.wait_until_said("broker connected")
        own_broker.stop()
        ids = put_many(spool, 1000)
        relay.wait_until_said("broker unreachable")

        own_broker.start()

        tap = Tap(own_broker.url)
        taken = drained(tap, 1000)
        relay.wait_until_empty()
        tap.close()
    assert_complete(taken, ids)
    assert first_arrivals(taken) == ids


def test_a_broker_that_accepts_and_never_answers_is_left_for_another(
    spool: Path, vhost_url: str, tap: Tap, proxy: Callable[[str], Proxy]
) -> None:
    hole = proxy(vhost_url)
    hole.mode = Mode.BLACK_HOLE
    ids = put_many(spool, 10)

    with RelayProcess(spool, hole.url, vhost_url, options=QUICK) as relay:
        taken = drained(tap, 10)
        relay.wait_until_empty()

    assert_complete(taken, ids)


def test_a_broker_that_accepts_and_never_answers_is_tried_until_it_does(
    spool: Path, vhost_url: str, tap: Tap, proxy: Callable[[str], Proxy]
) -> None:
    hole = proxy(vhost_url)
    hole.mode = Mode.BLACK_HOLE
    ids = put_many(spool, 10)
    with RelayProcess(spool, hole.url, options=QUICK) as relay:
        relay.wait_until_said("within the progress limit", times=2)
        descriptors = relay.descriptors
        relay.wait_until_said("within the progress limit", times=4)
        assert relay.descriptors <= descriptors

        hole.mode = Mode.PASS

        taken = drained(tap, 10)
        relay.wait_until_empty()
    assert_complete(taken, ids)


def test_one_dead_broker_of_two_does_no_harm(spool: Path, vhost_url: str, tap: Tap) -> None:
    ids = put_many(spool, 10)

    with RelayProcess(spool, NO_ONE, vhost_url) as relay:
        taken = drained(tap, 10)
        relay.wait_until_empty()

    assert_complete(taken, ids)


@pytest.mark.long
def test_a_blocked_broker_is_waited_for(spool: Path, own_broker: PrivateBroker) -> None:
    with ingress(own_broker.url) as tap, RelayProcess(spool, own_broker.url, options=QUICK) as relay:
        relay.wait_until_said("broker connected")
        own_broker.ctl("set_disk_free_limit", "900000GB")
        ids = put_many(spool, 600)
        relay.wait_until_said("broker is blocked")
        with pytest.raises(subprocess.TimeoutExpired):  # well past the progress limit, which does not count now
            relay.process.wait(2)
        assert tap.count(INGRESS) == 0
        assert len(waiting(spool)) == 600

        own_broker.ctl("set_disk_free_limit", "50MB")

        taken = drained(tap, 600)
        relay.wait_until_empty()
    assert "progress limit" not in relay.log
    assert [str(each.properties.message_id) for each in taken] == ids


# the line between them breaks


@pytest.mark.parametrize("fault", ["stall", "cut", "reset", "swallow confirms", "swallow publishes"])
def test_a_line_that_breaks_costs_duplicates_at_most(
    spool: Path, vhost_url: str, tap: Tap, proxy: Callable[[str], Proxy], fault: str
) -> None:
    line = proxy(vhost_url)
    ids = put_many(spool, 600)
    with RelayProcess(spool, line.url, options=QUICK) as relay:
        for connected, left in enumerate((500, 250), 1):
            # What is broken has to be there: all may have gone out before the first line was lost.
            relay.wait_until_said("broker connected", connected)
            _wait_until_left(spool, left)
            noticed = "broker connection lost" if fault in ("cut", "reset") else "within the progress limit"
            times = relay.log.count(noticed) + 1
            _break(line, fault)
            ids += put_many(spool, 100)
            relay.wait_until_said(noticed, times)
            line.mode = Mode.PASS
        taken = drained(tap, len(ids))
        relay.wait_until_empty()

    assert_complete(taken, ids)
    assert first_arrivals(taken) == ids


# the broker does not want them


def test_nacked_records_are_sent_until_they_are_taken(spool: Path, vhost_url: str) -> None:
    full = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    ids = put_many(spool, 6)

    with ingress(vhost_url, full) as tap, RelayProcess(spool, vhost_url, options=QUICK) as relay:
        relay.wait_until_said("broker nacked records", times=5)
        assert waiting(spool)
        taken = drained(tap, 6)
        relay.wait_until_empty()

    assert_complete(taken, ids)


def test_records_that_cannot_be_routed_stay_until_they_can(spool: Path, vhost_url: str) -> None:
    ids = put_many(spool, 20)
    with ingress(vhost_url) as tap:
        tap.channel.queue_unbind(INGRESS, INGRESS, "#")
        with RelayProcess(spool, vhost_url, options=QUICK) as relay:
            relay.wait_until_said("broker cannot route records", times=3)
            assert len(waiting(spool)) == 20

            tap.channel.queue_bind(INGRESS, INGRESS, "#")

            taken = drained(tap, 20)
            relay.wait_until_empty()
    assert_complete(taken, ids)
    assert not names(spool / "bad")


def test_records_stay_until_their_exchange_is_there(spool: Path, vhost_url: str) -> None:
    ids = put_many(spool, 20)
    with RelayProcess(spool, vhost_url, options=QUICK) as relay:
        relay.wait_until_said("broker has no exchange for records", times=3)
        assert len(waiting(spool)) == 20

        with ingress(vhost_url) as tap:
            taken = drained(tap, 20)
            relay.wait_until_empty()

    assert_complete(taken, ids)
    assert not names(spool / "bad")


@pytest.fixture
def node_url(vhost: str, vhost_url: str, rabbit_admin: RabbitAdmin, tap: Tap) -> Iterator[str]:
    """The address for a user who may publish the records of node `nsd01` only.

    *tap* has made the exchange: RabbitMQ 4.3 takes no topic permission for one that does not exist.
    """
    user = f"nsd01-{vhost}"
    rabbit_admin.add_user(user, "secret", vhost)
    _allow(rabbit_admin, vhost, user, r"^[^.]+\.prod\.[^.]+\.nsd01$")
    yield f"amqp://{user}:secret@{vhost_url.rpartition('@')[2]}"
    rabbit_admin.delete_user(user)


def test_a_record_that_the_broker_never_takes_does_not_hold_up_the_others(spool: Path, node_url: str, tap: Tap) -> None:
    ids = put_many(spool, 10)
    for _ in range(2):
        put(spool, node="stranger")
    ids += put_many(spool, 10)

    with RelayProcess(spool, node_url, options=QUICK) as relay:
        taken = drained(tap, 22)
        relay.wait_until_empty()

    of_nodes = [each for each in taken if each.properties.type != "recordUnreadable"]
    assert {each.properties.message_id for each in of_nodes} == set(ids)
    bad = names(spool / "bad")
    assert len(bad) == 4
    assert "ACCESS_REFUSED" in (spool / "bad" / bad[1]).read_text()


@pytest.mark.long
def test_records_larger_than_the_broker_takes_are_given_up_once_and_the_others_pass(
    spool: Path, make_broker: Callable[..., PrivateBroker]
) -> None:
    url = make_broker(config=["max_message_size = 65536"]).url
    large = [put(spool, "x" * size) for size in (70_000, 200_000)]
    ids = put_many(spool, 300)
    large += [put(spool, "x" * 70_000)]
    ids += put_many(spool, 10)

    with ingress(url) as tap, RelayProcess(spool, url, options=QUICK) as relay:
        taken = drained(tap, 313)
        relay.wait_until_empty()

    reports = [each for each in taken if each.properties.type == "recordUnreadable"]
    assert {each.properties.message_id for each in taken if each not in reports} == set(ids)
    assert len({each.properties.message_id for each in reports}) == 3
    bad = names(spool / "bad")
    assert sorted(each.split(".")[1] for each in bad if each.endswith(".json")) == sorted(large)
    assert all("is larger than configured max size 65536" in (spool / "bad" / each).read_text() for each in bad[1::2])


@pytest.mark.long
def test_a_record_larger_than_the_broker_takes_is_given_up_when_no_other_is_there(
    spool: Path, make_broker: Callable[..., PrivateBroker]
) -> None:
    url = make_broker(config=["max_message_size = 65536"]).url
    put(spool, "x" * 70_000)

    with ingress(url), RelayProcess(spool, url, options=QUICK) as relay:
        relay.wait_until_empty()

    assert len(names(spool / "bad")) == 2


@pytest.mark.long
def test_a_blocked_connection_that_is_lost_is_not_reported_as_unblocked(spool: Path, own_broker: PrivateBroker) -> None:
    with RelayProcess(spool, own_broker.url, options=QUICK) as relay:
        relay.wait_until_said("broker connected")
        own_broker.ctl("set_disk_free_limit", "900000GB")
        put_many(spool, 1)
        relay.wait_until_said("broker is blocked")

        own_broker.kill()
        relay.wait_until_said("broker connection lost")

        assert "no longer blocked" not in relay.log


def test_a_user_who_may_publish_nothing_keeps_all_records_until_it_may(
    spool: Path, vhost: str, node_url: str, tap: Tap, rabbit_admin: RabbitAdmin
) -> None:
    user = node_url.split("//")[1].partition(":")[0]
    _allow(rabbit_admin, vhost, user, "^nothing$")
    ids = put_many(spool, 10)
    with RelayProcess(spool, node_url, options=QUICK) as relay:
        relay.wait_until_said("broker refused a record", times=12)
        assert len(waiting(spool)) == 10

        _allow(rabbit_admin, vhost, user, ".*")

        taken = drained(tap, 10)
        relay.wait_until_empty()
    assert_complete(taken, ids)
    assert not names(spool / "bad")


# the disk is full


@pytest.fixture
def small_disk(tmp_path: Path, require: Callable[[str], str]) -> Iterator[Path]:
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [require("mount"), "-t", "tmpfs", "-o", "size=8m,mode=0755", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        missing("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run([require("umount"), "--lazy", str(folder)], check=True)


def test_a_full_disk_is_emptied_by_the_relay(small_disk: Path, vhost_url: str, tap: Tap) -> None:
    spool = make_spool(small_disk)
    with RelayProcess(spool, vhost_url) as relay:
        relay.wait_until_said("broker connected")
        relay.terminate()
    ids = put_many(spool, 200)
    _fill(small_disk)

    with RelayProcess(spool, vhost_url) as relay:
        taken = drained(tap, 200)
        relay.wait_until_empty()

    assert_complete(taken, ids)


@pytest.mark.long
def test_a_relay_that_cannot_number_records_sends_none_and_goes_on_when_it_can(
    spool: Path, vhost_url: str, tap: Tap, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    fails = (
        "import os; real = os.fdatasync, os.fsync\n"
        f"def fail(number): \n    if os.path.exists({str(full)!r}): raise OSError(28, 'No space left on device')\n"
        "os.fdatasync = os.fsync = fail"
    )
    with RelayProcess(spool, vhost_url, sabotage=fails) as relay:
        relay.wait_until_said("broker connected")
        full.touch()
        ids = put_many(spool, 20)
        relay.wait_until_said("cannot write the journal, sending stops")
        assert tap.count(INGRESS) == 0

        full.unlink()

        taken = drained(tap, 20)
        relay.wait_until_empty()
    assert_complete(taken, ids)
    assert first_arrivals(taken) == ids


def _wait_until_left(spool: Path, count: int) -> None:
    wait_for(lambda: len(waiting(spool)) <= count, 20, f"{count} records are left")


def _numbered(spool: Path) -> int:
    """Return how many numbers the journal has given."""
    lines = (spool / "journal").read_bytes().rstrip(b" ").splitlines()[2:]
    return len(lines)


def _break(line: Proxy, fault: str) -> None:
    if fault == "stall":
        line.mode = Mode.STALL
    elif fault == "cut":
        line.cut()
    elif fault == "reset":
        line.reset()
    else:
        line.mode = Mode.SWALLOW_IN if fault == "swallow confirms" else Mode.SWALLOW_OUT


def _allow(admin: RabbitAdmin, vhost: str, user: str, keys: str) -> None:
    body = {"exchange": INGRESS, "write": keys, "read": ".*"}
    admin.call("PUT", "topic-permissions", vhost, user, body=body)


def _fill(folder: Path) -> None:
    """Write until there is no room for one byte more."""
    with (folder / "filler").open("wb", buffering=0) as stream:
        for piece in (1 << 20, 4096, 1):
            try:
                while True:
                    stream.write(b"x" * piece)
            except OSError:
                continue
