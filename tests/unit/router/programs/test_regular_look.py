"""A look that fails in an unexpected way is named in the log, and the next one is taken all the same."""

import threading
from datetime import timedelta

from router.programs.regular_look import regularly
from tests.waiting import wait_for

TICK = timedelta(milliseconds=1)


def test_a_look_goes_on_after_any_exception_which_the_log_shows(caplog):
    looks = []

    def look():
        looks.append(threading.current_thread().name)
        raise KeyError("about")

    with regularly("lost jobs", TICK, look, at_once=True):
        wait_for(lambda: len(looks) > 2, 10, "three looks")

    assert set(looks) == {"lost jobs"}
    assert caplog.records[0].look == "lost jobs"
    assert "KeyError: 'about'" in caplog.text


def test_the_first_look_is_after_the_pause_unless_it_is_at_once():
    looks = []

    with regularly("timers", timedelta(hours=1), lambda: looks.append(1)):
        pass
    with regularly("timers", timedelta(hours=1), lambda: looks.append(2), at_once=True):
        wait_for(lambda: looks, 10, "the look")

    assert looks == [2]


def test_a_look_that_is_under_way_at_the_end_is_waited_for():
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def look():
        begun.set()
        may_end.wait(60)
        ended.set()

    with regularly("places", timedelta(hours=1), look, at_once=True):
        assert begun.wait(60)
        threading.Timer(0.05, may_end.set).start()

    assert ended.is_set()
