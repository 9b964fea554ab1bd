"""Ids: they sort by moment, are derived always the same, and tell their moment."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.ids import derived_id, has_form, id_at, id_of_record, is_id, moment_of, new_id, traceparent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
moments = st.integers(0, 253402300799999999).map(lambda number: EPOCH + timedelta(microseconds=number))


def test_derived_ids_differ_by_what_follows_and_sort_with_their_record() -> None:
    record = new_id()

    ids = {derived_id(record, what) for what in ("gapOpened", "gapClosed")} | {derived_id(new_id(), "gapOpened")}

    assert len(ids) == 3
    assert derived_id(record, "gapOpened")[:10] == record[:10]


@given(moments, st.text())
def test_no_record_has_an_id_that_could_be_derived(moment: datetime, what: str) -> None:
    for foreseen in (derived_id(new_id(moment), what), id_at(moment, what)):
        id_ = id_of_record(foreseen)

        assert id_ != foreseen
        assert is_id(id_)
        assert id_[:10] == foreseen[:10]
        assert id_ == id_of_record(foreseen), "a record that comes again is the same"
        assert id_of_record(id_) != id_, "nor may another record claim that one"


def test_ids_of_captures_stay_as_they_are() -> None:
    assert sum(id_of_record(id_) != id_ for id_ in (new_id() for _ in range(1000))) <= 1


def test_the_trace_of_an_event_begins_with_its_id() -> None:
    parent = traceparent("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")

    version, trace, span, flags = parent.split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "00"), "no span is exported for it"
    assert int(trace, 16) >> 80 == 0x019AA02D8283


@given(moments)
def test_the_moment_of_an_id_is_the_one_that_it_was_made_of(moment: datetime) -> None:
    assert moment_of(new_id(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(moments, moments)
def test_ids_sort_by_their_milliseconds(one: datetime, other: datetime) -> None:
    if abs(one - other) >= timedelta(milliseconds=2):
        assert (new_id(one) < new_id(other)) == (one < other)


def test_an_id_of_the_year_9999_tells_its_moment_and_a_later_one_is_refused_in_words() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)

    assert is_id(new_id(last))
    assert moment_of(new_id(last)) == last
    assert not is_id(LARGEST)
    with pytest.raises(ValueError, match=f"^id {LARGEST} is of a moment after the year 9999$"):
        moment_of(LARGEST)


@given(st.integers(0, 2**48 - 1))
def test_every_id_has_a_moment(milliseconds: int) -> None:
    digits = ["0123456789ABCDEFGHJKMNPQRSTVWXYZ"[milliseconds >> shift & 31] for shift in range(45, -1, -5)]
    id_ = "".join(digits) + "0" * 16

    assert has_form(id_)
    assert is_id(id_) == (milliseconds < 253402300800000)
    if is_id(id_):
        moment_of(id_)


@pytest.mark.parametrize(
    "text", ["", "x", "8" + "0" * 25, "0" * 25, "0" * 27, "0" * 26 + "\n", "01KAG2V0M3Y8ZT6Q4XJ5W9E7RU"]
)
def test_what_is_not_an_id_is_refused_in_words(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(ValueError, match="is not an id"):
        moment_of(text)
