"""The spool on a real folder: what is taken, in which order, what is set aside, what is remembered."""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim import spool as spools
from shim.spool import LARGEST, Spool, SpoolUnusable
from tests.shim_relay import make_spool, names, put, put_many, waiting

PLENTY = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty spool on the disk."""
    return make_spool(tmp_path)


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    """The same, held."""
    spool = Spool(folder, "prod")
    yield spool
    spool.close()


def test_records_are_taken_in_the_order_of_capture_and_numbered_so(folder: Path, spool: Spool) -> None:
    ids = put_many(folder, 20)

    first = spool.take(15, PLENTY).records
    second = spool.take(15, PLENTY).records

    assert [each.id for each in [*first, *second]] == ids
    assert [each.sequence for each in [*first, *second]] == list(range(1, 21))


def test_a_record_in_hand_is_not_taken_again_however_often_it_is_noticed(folder: Path, spool: Spool) -> None:
    assert spool.take(10, PLENTY).records == []
    put_many(folder, 3)
    names = waiting(folder)

    spool.notice(names * 2)
    taken = spool.take(10, PLENTY).records
    spool.notice(names)
    spool.rescan()

    assert [each.sequence for each in taken] == [1, 2, 3]
    assert spool.take(10, PLENTY).records == []


def test_a_record_that_was_not_removed_has_its_number_again_after_a_kill(folder: Path) -> None:
    ids = put_many(folder, 5)
    first = Spool(folder, "prod")
    taken = first.take(4, PLENTY).records
    first.remove(taken[1].name)
    first.close()  # as the kernel does for a killed process

    second = Spool(folder, "prod")
    again = second.take(10, PLENTY).records
    second.close()

    assert [(each.id, each.sequence) for each in again] == [(ids[0], 1), (ids[2], 3), (ids[3], 4), (ids[4], 5)]
    assert second.epoch == first.epoch


def test_records_that_have_numbers_go_before_one_that_was_captured_earlier_and_stored_later(folder: Path) -> None:
    put_many(folder, 2)
    slow = (folder / "new" / waiting(folder)[0]).rename(folder / "tmp" / waiting(folder)[0])
    first = Spool(folder, "prod")
    numbered = first.take(5, PLENTY).records
    first.close()
    slow.rename(folder / "new" / slow.name)

    second = Spool(folder, "prod")
    again = second.take(5, PLENTY).records
    second.close()

    assert [each.name for each in again] == [numbered[0].name, slow.name]
    assert [each.sequence for each in again] == [1, 2]


def test_a_damaged_journal_begins_an_epoch_and_is_kept(folder: Path) -> None:
    first = Spool(folder, "prod")
    first.close()
    (folder / "journal").write_bytes(b"epoch of reason\n")

    second = Spool(folder, "prod")
    second.close()

    assert second.epoch != first.epoch
    assert (folder / "bad" / "journal").read_bytes() == b"epoch of reason\n"
    assert b"not a valid journal" in (folder / "bad" / "journal.reason").read_bytes()


def test_a_torn_line_is_given_to_the_next_record_again(folder: Path) -> None:
    put_many(folder, 2)
    first = Spool(folder, "prod")
    first.take(1, PLENTY)
    first.close()
    journal = folder / "journal"
    text = journal.read_bytes()
    torn = text.rstrip(b" ") + b"2 " + waiting(folder)[1].encode()[:30]
    journal.write_bytes(torn + b" " * (len(text) - len(torn)))

    second = Spool(folder, "prod")
    again = second.take(5, PLENTY).records
    second.close()

    assert [each.sequence for each in again] == [1, 2]


def test_what_is_no_record_is_set_aside_with_its_reason(folder: Path, spool: Spool) -> None:
    new = folder / "new"
    good = put(folder, "--a")
    (new / "random").write_bytes(os.urandom(100))
    (new / "folder").mkdir()
    (new / "link").symlink_to("/etc/passwd")
    os.mkfifo(new / "fifo")
    (new / "huge").touch()
    os.truncate(new / "huge", LARGEST + 1)
    (new / "new\nline").touch()
    (new / ("long" * 60)).touch()
    os.close(os.open(os.fsencode(new) + b"/\xff\xfe", os.O_CREAT, 0o600))

    taken = spool.take(100, PLENTY)

    assert [each.id for each in taken.records] == [good]
    assert waiting(folder) == [taken.records[0].name]
    assert len(taken.unreadable) == 8
    bad = names(folder / "bad")
    assert {"fifo", "folder", "huge", "link", "new\nline", "random"} <= set(bad)
    assert sum(each.endswith(".reason") for each in bad) == 8
    assert (folder / "bad" / "link").is_symlink()
    assert "the limit is" in (folder / "bad" / "huge.reason").read_text()


def test_what_is_set_aside_replaces_nothing_there(folder: Path, spool: Spool) -> None:
    for text in ("first", "second"):
        (folder / "new" / "x").write_text(text)
        spool.rescan()
        spool.take(5, PLENTY)

    assert (folder / "bad" / "x").read_text() == "first"
    assert (folder / "bad" / "x.1").read_text() == "second"


def test_bad_files_take_no_numbers(folder: Path, spool: Spool) -> None:
    put(folder, "--a")
    (folder / "new" / f"{'0' * 19}.x").touch()
    put(folder, "--b")

    assert [each.sequence for each in spool.take(5, PLENTY).records] == [1, 2]


@pytest.mark.thorough
def test_a_second_relay_is_refused(folder: Path, spool: Spool) -> None:
    with pytest.raises(SpoolUnusable, match="another relay"):
        Spool(folder, "prod")

    assert spool.following == 1


def test_a_look_at_the_lock_does_not_refuse_a_relay_that_starts(folder: Path) -> None:
    look = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
    end = threading.Timer(0.2, os.close, [look])
    end.start()

    Spool(folder, "prod").close()

    end.join()


def test_a_missing_spool_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="systemd-tmpfiles"):
        Spool(tmp_path / "nowhere", "prod")


def test_folders_are_looked_for_first_and_made_without_the_setgid_bit_which_the_unit_forbids(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def restricted(path: str, mode: int, *, dir_fd: int) -> None:
        # As RestrictSUIDSGID: before the kernel looks whether the folder is there.
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        make(path, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", restricted)
    (folder / "kept").rmdir()

    Spool(folder, "prod").close()

    assert stat.S_IMODE((folder / "kept").stat().st_mode) & stat.S_ISGID


def test_records_whose_numbers_cannot_be_written_are_taken_later_without_a_hole(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = put_many(folder, 3)

    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", _no_space)
        full.setattr(os, "fsync", _no_space)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                spool.take(5, PLENTY)

    taken = spool.take(5, PLENTY).records
    assert [(each.id, each.sequence) for each in taken] == list(zip(ids, [1, 2, 3], strict=True))


def test_many_files_are_taken_piece_by_piece(folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_NAMES", 7)
    ids = put_many(folder, 40)
    found = []

    while spool.more:
        for record in spool.take(5, PLENTY).records:
            found.append(record.id)
            spool.remove(record.name)

    assert found == ids
    assert waiting(folder) == []


def test_large_records_are_taken_one_by_one(folder: Path, spool: Spool) -> None:
    for _ in range(3):
        put(folder, "x" * 300_000)

    assert [len(spool.take(10, 200_000).records) for _ in range(4)] == [1, 1, 1, 0]


def test_a_record_that_cannot_be_removed_is_not_sent_again(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "--a")
    [record] = spool.take(5, PLENTY).records

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", _no_space)
        spool.remove(record.name)
    spool.notice([record.name])

    assert spool.take(5, PLENTY).records == []
    spool.rescan()
    assert waiting(folder) == []


def test_only_old_leftovers_are_removed(folder: Path, spool: Spool) -> None:
    for name, age in (("old", 3700), ("young", 60)):
        (folder / "tmp" / name).touch()
        os.utime(folder / "tmp" / name, (time.time() - age, time.time() - age))

    spool.clean()

    assert names(folder / "tmp") == ["young"]


def test_the_survey_counts_files_and_finds_the_oldest_record(folder: Path, spool: Spool) -> None:
    before = time.time()
    put_many(folder, 3)
    (folder / "new" / "junk").touch()

    files, oldest = spool.survey()

    assert files == 4
    assert oldest is not None
    assert before - 1 <= oldest <= time.time()


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
