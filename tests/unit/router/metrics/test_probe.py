"""A probe asks once at a time, and waits for an answer only as long as it may."""

import threading
import time

import pytest

from router.metrics.probe import Look, Probe


class Asked:
    """What is asked: it answers when the test says so."""

    def __init__(self):
        self.questions = []
        self.now = 0.0

    def probe(self, **options):
        return Probe(self.questions.append, monotonic=lambda: self.now, **{"fresh": 5, "patience": 0, **options})


@pytest.fixture
def asked():
    return Asked()


def test_an_answer_is_used_until_it_is_old(asked):
    probe = asked.probe()
    probe.look()
    asked.questions[0](42)

    asked.now = 5.0
    assert probe.look() == Look(42)
    assert len(asked.questions) == 1
    asked.now = 5.1
    probe.look()
    assert len(asked.questions) == 2


def test_what_does_not_answer_is_asked_once_and_the_time_is_counted(asked):
    probe = asked.probe()
    probe.look()
    asked.questions[0]("first")
    asked.now = 10.0

    looks = []
    for asked.now in (10.0, 11.0, 25.0):
        looks.append(probe.look())

    assert looks == [Look("first"), Look("first", unanswered=1.0), Look("first", unanswered=15.0)]
    assert len(asked.questions) == 2


def test_a_late_answer_ends_the_question_and_says_how_long_it_took(asked):
    probe = asked.probe()
    probe.look()
    asked.now = 30.0

    asked.questions[0]("late")

    assert probe.look() == Look("late", took=30.0)


def test_an_error_takes_the_place_of_the_last_answer(asked):
    probe, error = asked.probe(fresh=0), OSError("gone")
    probe.look()
    asked.questions[0](1)
    asked.now = 1.0
    probe.look()

    asked.questions[1](error)

    assert probe.look() == Look(error=error)


def test_an_answer_at_once_is_seen_at_once(asked):
    assert Probe(lambda answered: answered(7), fresh=5, patience=0).look().answer == 7


def test_it_waits_for_an_answer_from_another_thread():
    def ask(answered):
        threading.Timer(0.05, answered, ["here"]).start()

    assert Probe(ask, fresh=5, patience=60).look().answer == "here"


def test_only_the_first_look_waits_for_what_hangs():
    probe = Probe(lambda _: None, fresh=5, patience=0.2)
    probe.look()

    begun = time.monotonic()
    for _ in range(1000):
        probe.look()

    # A thousand waits would take 200 s.
    assert time.monotonic() - begun < 20
