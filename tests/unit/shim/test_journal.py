"""The journal gives each record one number: without holes, never twice, whatever was torn."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim import journal as journals
from shim.journal import JOURNAL, NEXT, Journal, JournalDamaged, Numbers, entries, parse, read_numbers

EPOCH = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"
names = st.from_regex(r"[0-9]{19}\.[0-9A-Z]{26}\.json", fullmatch=True)
distinct_names = st.lists(names, unique=True, max_size=30)


def opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def made(folder: Path) -> Journal:
    journal = Journal(opened(folder), Numbers(EPOCH))
    journal.rewrite()
    return journal


@given(distinct_names, st.integers(1, 10**15))
def test_what_is_written_is_what_is_read(some: list[str], following: int) -> None:
    numbers = Numbers(EPOCH, following)
    numbers.record(some, numbers.assign(some))

    read = parse(numbers.text())

    assert read == numbers


@pytest.mark.thorough
@given(distinct_names, distinct_names, st.data())
def test_a_torn_journal_gives_no_number_that_was_not_whole(
    some: list[str], more: list[str], data: st.DataObject
) -> None:
    numbers = Numbers(EPOCH)
    numbers.record(some, numbers.assign(some))
    fresh = [name for name in more if name not in some]
    batch = entries(fresh, numbers.assign(fresh))
    kept = data.draw(st.integers(0, len(batch)))

    read = parse(numbers.text() + batch[:kept] + b" " * (len(batch) - kept))

    whole = batch[:kept].count(b"\n")
    assert read.given == {**numbers.given, **dict(zip(fresh[:whole], numbers.assign(fresh), strict=False))}
    assert read.following == numbers.following + whole


@pytest.mark.thorough
@given(distinct_names.filter(lambda some: len(some) > 2))
def test_a_batch_of_which_only_the_end_reached_the_disk_counts_up_to_the_hole(some: list[str]) -> None:
    text = Numbers(EPOCH).text()
    batch = entries(some, Numbers(EPOCH).assign(some))
    first = batch.index(b"\n") + 1
    second = batch.index(b"\n", first) + 1

    read = parse(text + batch[:first] + b" " * (second - first) + batch[second:])

    assert read.given == {some[0]: 1}


@given(st.binary(max_size=300))
def test_any_other_text_is_damage_and_no_crash(text: bytes) -> None:
    try:
        numbers = parse(text)
    except JournalDamaged:
        return

    assert text.startswith(f"epoch {numbers.epoch}\nbase ".encode())


@pytest.mark.parametrize(
    "lines",
    [
        b"5 a\n",  # a hole
        b"3 a\n3 b\n",  # a number twice
        b"3 a\n4 a\n",  # a name twice
        b"0 a\n",
        b"3 \n",
        b"three a\n",
        b"3 a\n2 b\n",
    ],
)
def test_numbers_that_do_not_follow_one_another_are_damage(lines: bytes) -> None:
    with pytest.raises(JournalDamaged):
        parse(f"epoch {EPOCH}\nbase 3\n".encode() + lines)


def test_numbers_go_on_where_a_relay_that_was_killed_left_off(tmp_path: Path) -> None:
    made(tmp_path).number(["a", "b"])

    again = Journal(opened(tmp_path), read_numbers(opened(tmp_path)))
    again.rewrite()

    assert again.number(["b", "c", "a", "d"]) == [2, 3, 1, 4]
    assert again.numbers.epoch == EPOCH


def test_a_rewritten_journal_keeps_what_was_not_forgotten_and_the_next_number(tmp_path: Path) -> None:
    journal = made(tmp_path)
    journal.number(["a", "b", "c"])
    journal.forget("a")
    journal.rewrite()

    read = read_numbers(opened(tmp_path))

    assert read == Numbers(EPOCH, 4, {"b": 2, "c": 3})


def test_the_journal_has_to_be_rewritten_before_it_grows(tmp_path: Path) -> None:
    journal = made(tmp_path)
    size = (tmp_path / JOURNAL).stat().st_size

    count = 0
    while not journal.needs_rewrite:
        fresh = [f"{number:019d}.{EPOCH}.json" for number in range(count, count + 500)]
        journal.number(fresh)
        for name in fresh:
            journal.forget(name)
        count += 500

    assert (tmp_path / JOURNAL).stat().st_size == size == journals.SIZE
    journal.rewrite()
    assert not journal.needs_rewrite
    assert journal.number(["next"]) == [count + 1]


def test_no_number_is_given_when_the_disk_does_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = made(tmp_path)
    journal.number(["a"])

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _fails)
        with pytest.raises(OSError, match="disk on fire"):
            journal.number(["b", "c"])
        with pytest.raises(OSError, match="rewritten"):
            journal.number(["d"])

    journal.rewrite()
    assert journal.number(["c", "b"]) == [2, 3]
    assert read_numbers(opened(tmp_path)).given == {"a": 1, "c": 2, "b": 3}


@pytest.mark.parametrize("step", ["write", "ftruncate", "fsync", "link", "rename"])
def test_a_journal_that_cannot_be_rewritten_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    journal = made(tmp_path)
    journal.rewrite()
    journal.number(["a"])

    with monkeypatch.context() as broken:
        broken.setattr(os, step, _fails)
        with pytest.raises(OSError, match="disk on fire"):
            journal.rewrite()

    assert read_numbers(opened(tmp_path)).given == {"a": 1}
    with pytest.raises(OSError, match="rewritten"):
        journal.number(["b"])
    journal.rewrite()
    assert journal.number(["b"]) == [2]
    assert read_numbers(opened(tmp_path)).given == {"a": 1, "b": 2}


def test_a_rewritten_journal_reuses_the_blocks_of_the_one_before(tmp_path: Path) -> None:
    journal = made(tmp_path)
    journal.rewrite()
    before = {(tmp_path / each).stat().st_ino for each in (JOURNAL, NEXT)}

    journal.rewrite()

    assert {(tmp_path / each).stat().st_ino for each in (JOURNAL, NEXT)} == before
    assert not (tmp_path / "journal.old").exists()


def _fails(*_: object, **__: object) -> None:
    raise OSError("disk on fire")
