"""What `clusterbus broker users --print --to` writes."""

import os

import pytest

from router.cli.broker import user_changes
from router.errors import SettingsError


def test_an_interrupt_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "commands"
    file.write_text("earlier")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        user_changes._write(file, "later")

    assert [each.name for each in tmp_path.iterdir()] == ["commands"]
    assert file.read_text() == "earlier"


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match="file/commands: cannot be written: "):
        user_changes._write(tmp_path / "file" / "commands", "text")
