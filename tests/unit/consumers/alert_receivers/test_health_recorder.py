"""When it is written whether receivers of alerts answer, and what happens where that cannot be written."""

from contextlib import contextmanager
from datetime import timedelta

import pytest

from consumers.alert_receivers.health_recorder import HealthRecorder
from consumers.errors import StoreError
from consumers.store.alerts import receiver_health
from consumers.store.database import Store
from tests.engines import START

MINUTE = timedelta(minutes=1)
AM = "https://am"


class Breakable:
    """A store whose writing can be broken, and is counted."""

    def __init__(self, store):
        self.store, self.written, self.is_broken = store, 0, False

    @contextmanager
    def writing(self):
        if self.is_broken:
            raise StoreError("the disk is full")
        with self.store.writing() as transaction:
            yield transaction
        self.written += 1

    def found(self):
        with self.store.reading() as transaction:
            return receiver_health.find(transaction, 100)


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield Breakable(opened)


@pytest.fixture
def passed():
    return [100.0]


@pytest.fixture
def recorder(store, passed):
    return HealthRecorder(store, lambda: START + timedelta(seconds=passed[0]), lambda: passed[0])


def test_what_does_not_change_is_written_once_a_minute(store, recorder, passed):
    for _ in range(25):
        recorder.record("am", "send", MINUTE, {AM: ""})
        passed[0] += 5

    assert store.written == 3
    assert store.found()[0].succeeded == START + timedelta(seconds=220)


def test_a_change_is_written_at_once_and_other_words_of_an_error_are_no_change(store, recorder, passed):
    for number, error in enumerate(["", "timeout 1", "timeout 2", "timeout 3", ""]):
        recorder.record("am", "send", MINUTE, {AM: error})
        if number == 3:
            assert store.found()[0].error == "timeout 1"
        passed[0] += 5

    assert store.written == 3
    assert store.found()[0].failing_since is None


def test_an_error_is_bounded_on_one_line_and_without_secrets(store, recorder):
    long = "no answer of https://u:s3cret@am/x?token=s3cret\n\x1b[31m" + "x" * 9999
    recorder.record("am", "send", MINUTE, {AM: long})

    error = store.found()[0].error
    assert "s3cret" not in error
    assert error.isprintable()
    assert len(error) <= 500


def test_what_could_not_be_written_is_logged_once_and_written_the_next_time(store, recorder, passed, caplog):
    store.is_broken = True
    for _ in range(3):
        recorder.record("am", "send", MINUTE, {AM: "timeout"})
        passed[0] += 1
    assert not recorder.keep_only({"am": ()})
    assert len(caplog.records) == 1

    store.is_broken = False
    recorder.record("am", "send", MINUTE, {AM: "timeout"})

    assert [each.error for each in store.found()] == ["timeout"]


def test_what_was_deleted_is_written_again_where_it_comes_back(store, recorder):
    recorder.record("am", "send", MINUTE, {AM: ""})

    assert recorder.keep_only({"am": ()})
    assert store.found() == []
    recorder.record("am", "send", MINUTE, {AM: ""})

    assert len(store.found()) == 1
