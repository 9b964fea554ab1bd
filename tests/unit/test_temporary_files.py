"""Temporary files of a test run: in memory, for as long as the run is."""

import os
import tempfile
from pathlib import Path

import pytest

from tests import temporary_files
from tests.temporary_files import TemporaryFiles


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the one that is in memory."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(temporary_files, "_MEMORY", tmp_path)
    monkeypatch.setattr(temporary_files, "_NEEDED", 1)
    return tmp_path


def test_files_are_in_memory_until_the_run_ends(memory: Path) -> None:
    files = TemporaryFiles()
    inside = tempfile.mkdtemp()
    files.close()

    assert Path(inside).parent.parent == memory
    assert list(memory.iterdir()) == []
    assert "TMPDIR" not in os.environ


def test_what_a_failed_run_left_is_removed_by_the_next_one_and_what_is_in_use_is_not(memory: Path) -> None:
    failed, other = TemporaryFiles(), memory / f"cb{os.getuid()}-x"
    failed.is_kept = True
    folder = failed.folder
    failed.close()
    assert list(memory.iterdir()) == [folder]

    first = TemporaryFiles()
    os.environ.pop("TMPDIR")
    other.symlink_to("/")
    second = TemporaryFiles()

    assert {*memory.iterdir()} == {first.folder, second.folder, other}
    for each in (first, second):
        each.close()


def test_without_room_or_where_somebody_says_where_to_they_stay(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_files, "_NEEDED", 1 << 62)
    assert TemporaryFiles().folder is None

    monkeypatch.setattr(temporary_files, "_NEEDED", 1)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert TemporaryFiles().folder is None
    assert list(memory.iterdir()) == []
