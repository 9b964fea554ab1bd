"""Which files hold subscriptions, and what is wrong with a file as a whole."""

import os
from pathlib import Path

import pytest

from consumers.config.subscription_files import parse, read_all
from router.settings.bounded_files import LARGEST, left_out


def test_a_folder_is_its_yaml_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", ".hidden.yaml", "c.txt"):
        (tmp_path / name).write_text("version: 1")

    documents = read_all([tmp_path, tmp_path / "a.yaml"])

    assert [Path(each.file).name for each in documents] == ["a.yaml", "b.yaml"]


def test_every_file_of_a_folder_is_read_or_named(tmp_path: Path) -> None:
    names = ("a.yaml", "b.yml", "C.YAML", "d.Yml", "e.py", "F.PY", ".hidden.yaml", "notes.txt", "old.yaml~", "plain")
    for name in names:
        (tmp_path / name).write_text("version: 1")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "g.yaml").write_text("version: 1")
    (tmp_path / "__pycache__").mkdir()

    read = {Path(each.file).name for each in read_all(tmp_path, {".py": parse})}
    named = {path.name: reason for path, reason in left_out(tmp_path, (".py",))}

    assert read == {"a.yaml", "b.yml", "C.YAML", "d.Yml", "e.py", "F.PY"}
    assert set(named) == {"notes.txt", "old.yaml~", "plain", "more"}
    assert named["plain"] == "is not read: only *.yaml, *.yml, *.py are; rename it, or move it out of the folder"
    assert "nor is what it holds" in named["more"]
    assert list(left_out(tmp_path / "a.yaml")) == []
    assert list(left_out(tmp_path / "missing")) == []


@pytest.mark.parametrize(
    ("name", "said"), [("missing.yaml", "No such file"), ("empty", "no file here is named"), ("large.yaml", "split it")]
)
def test_a_file_that_cannot_be_read_has_a_flaw_of_the_whole_file(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (LARGEST + 1))

    (document,) = read_all(tmp_path / name)

    assert [each.line for each in document.flaws] == [0]
    assert said in document.flaws[0].message


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")

    (document,) = read_all(tmp_path)

    assert document.flaws[0].message == "is not a regular file"


@pytest.mark.parametrize("content", [b"", b"# only a comment\n"])
def test_an_empty_file_says_what_it_needs(content: bytes) -> None:
    (flaw,) = parse(content, "a.yaml").flaws

    assert (flaw.line, flaw.message) == (1, "is empty: it needs `version: 1` and `subscriptions:`")
