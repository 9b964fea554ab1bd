"""Timers and delays of `clusterbus consume` over a real broker: killed, and as two consumers."""

import json
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from router.model.ids import moment_of
from tests.consuming import effect, lines, make_event, now, publish
from tests.operating import Program
from tests.waiting import wait_for

TIMER = "version: 1\nsubscriptions:\n  - {{name: tidy, every: 10s, run: {{command: {command}}}}}\n"
DELAY = "version: 1\nsubscriptions:\n  - {{name: later, on: quota, delay: 12s, run: {{command: {command}}}}}\n"
PERIOD = timedelta(seconds=10)


@pytest.fixture
def effects(tmp_path):
    return tmp_path / "effects"


def text(form, effects):
    return form.format(command=json.dumps(effect(effects)))


def dues(effects):
    """Return the moments of the timer whose events were handled, in order; each was handled once."""
    ids = Counter(each.split()[0] for each in lines(effects))
    assert set(ids.values()) <= {1}
    return [moment_of(each) for each in sorted(ids)]


def pass_by(moment: datetime) -> None:
    wait_for(lambda: now() > moment, 120, f"{moment:%H:%M:%S}")


@pytest.mark.long
def test_a_timer_goes_on_after_a_kill_and_what_was_missed_is_due_once(vhost_url, tmp_path, effects, database):
    with Program(vhost_url, tmp_path, text(TIMER, effects), store=database("store")) as program:
        program.start("tidy")
        program.wait_rows(1, 60, outcome="done")
        program.running.kill()
        last = dues(effects)[-1]
        pass_by(last + 3.5 * PERIOD)
        program.start("tidy")
        program.wait_rows(3, 60, outcome="done")
        program.running.kill()

        found = dues(effects)
        assert all(each.second % 10 == 0 for each in found)
        # The last of those that were missed, and what followed.
        missed = [each for each in found if last < each <= last + 3.5 * PERIOD]
        assert missed == [last + 3 * PERIOD]


@pytest.mark.long
def test_of_two_consumers_one_handles_each_moment(vhost_url, tmp_path, effects, database):
    folders = [tmp_path / name for name in ("one", "two")]
    for each in folders:
        each.mkdir()
    url, what = database("store"), text(TIMER, effects)
    with Program(vhost_url, folders[0], what, store=url) as one, Program(vhost_url, folders[1], what, store=url) as two:
        one.start("tidy")
        two.start("tidy")
        one.wait_rows(3, 120, outcome="done")
        one.running.stop()
        one.wait_rows(5, 120, outcome="done")
        two.running.stop()

        found = dues(effects)
        assert {later - earlier for earlier, later in pairwise(found)} == {PERIOD}


@pytest.mark.long
def test_a_delay_goes_on_while_no_consumer_runs_and_is_neither_cut_short_nor_begun_anew(
    vhost_url, tmp_path, effects, database
):
    with Program(vhost_url, tmp_path, text(DELAY, effects), store=database("store")) as program:
        program.start("later")
        began = now()
        publish(vhost_url, [make_event()])
        wait_for(lambda: program.rows(outcome="wait"), 30, "it to wait")
        program.running.kill()
        program.start("later")
        wait_for(lambda: lines(effects), 60, "its first attempt")

        (row,) = program.wait_rows(1, outcome="done")
        assert timedelta(seconds=12) <= row.started - began
        assert len(lines(effects)) == 1
