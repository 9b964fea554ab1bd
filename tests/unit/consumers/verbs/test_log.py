import fcntl
import os
import threading

import pytest

from consumers.deliveries import Delivery
from consumers.verbs.log import lines
from consumers.verbs.log.lines import LinesFile
from tests.consuming import make_delivery, make_event


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.mark.parametrize("torn", [b'{"specversion":"1.0","id"', b'{"spec', b"{", b'{"specversion"' + b"x" * 200_000])
@pytest.mark.parametrize("before", [b"", b"whole\n", b"a\n" * 50_000])
def test_a_line_that_a_killed_writer_left_torn_is_taken_off(path, before, torn):
    path.write_bytes(before + torn)
    one = make_delivery()

    LinesFile(path).append([one])

    assert path.read_bytes() == before + one.body + b"\n"


def test_somebody_elses_words_without_an_end_are_kept_on_their_own_line(path):
    path.write_bytes(b"# written by hand")
    one = make_delivery()

    LinesFile(path).append([one])

    assert path.read_bytes() == b"# written by hand\n" + one.body + b"\n"


def test_an_event_that_came_on_several_lines_is_one_line(path):
    event = make_event()
    indented = Delivery(event, "a", event.topic, event.to_json().replace(b",", b",\n"))

    LinesFile(path).append([indented])

    assert path.read_bytes() == event.to_json() + b"\n"


@pytest.mark.parametrize("rotate", [lambda path: path.rename(path.with_suffix(".1")), lambda path: path.unlink()])
def test_a_file_that_was_rotated_away_is_left_and_another_made(path, rotate):
    file = LinesFile(path)
    one, two = make_delivery(), make_delivery()
    file.append([one])

    rotate(path)
    file.append([two])

    assert path.read_bytes() == two.body + b"\n"


def test_a_file_rotated_while_we_wait_for_its_lock_is_not_written(path):
    file, one = LinesFile(path), make_delivery()
    path.touch()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=file.append, args=([one],))
        writer.start()
        rotated = path.with_suffix(".1")
        path.rename(rotated)
    writer.join(120)

    assert path.read_bytes() == one.body + b"\n"
    assert rotated.read_bytes() == b""


def test_a_lock_that_is_held_for_ever_is_an_error_in_bounded_time(path, monkeypatch):
    monkeypatch.setattr(lines, "_PATIENCE", 0.1)
    path.touch()

    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(TimeoutError, match="locked by another process"):
            LinesFile(path).append([make_delivery()])


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path, tmp_path / "missing" / "file"):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory|No such file|No such device"):
            LinesFile(path).append([make_delivery()])


def test_a_write_that_fails_in_the_middle_is_taken_back(path, monkeypatch):
    one = make_delivery()
    LinesFile(path).append([one])
    real = os.write

    def short(file, content):
        return real(file, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="only"):
        LinesFile(path).append([make_delivery()])

    assert path.read_bytes() == one.body + b"\n"


def test_a_file_is_not_for_everybodys_eyes(path):
    LinesFile(path).append([make_delivery()])

    assert path.stat().st_mode & 0o007 == 0
