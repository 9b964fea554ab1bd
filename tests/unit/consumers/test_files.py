"""Subscription files as values that know their lines."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers import files

# Machines that are busy with other tests are slow at times.
PATIENT = settings(deadline=None)


def flaws(content: str | bytes) -> list[tuple[int, str]]:
    document = files.parse(content.encode() if isinstance(content, str) else content, "a.yaml")
    return [(each.line, each.message) for each in document.flaws]


def test_every_value_knows_its_line() -> None:
    document = files.parse(
        b"version: 1\n\nlist:\n  - name: a\n    on: [x,\n         y]\n  - text: |\n      p\n      q\n", "a.yaml"
    )

    assert document.value == {"version": 1, "list": [{"name": "a", "on": ["x", "y"]}, {"text": "p\nq\n"}]}
    assert [
        document.line(each) for each in ((), ("list",), ("list", 0), ("list", 0, "on", 1), ("list", 1, "text"))
    ] == [
        1,
        3,
        4,
        6,
        7,
    ]


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    document = files.parse(b"a:\n  b:\n    c: 1\n", "a.yaml")

    assert document.line(("a", "b", "missing", 3)) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-3", -3),
        ("1.5", 1.5),
        ("'5'", "5"),
        ("5s", "5s"),
        ("!!str 5", "5"),
    ],
)
def test_words_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    document = files.parse(f"on: {text}".encode(), "a.yaml")

    assert document.value == {"on": value}
    assert not document.flaws


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("", 1, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("a: 1\nb:\n\t- c\n", 3, "a tab: YAML is indented with blanks"),
        ("a: 1\nb: [1,\nc: 2\n", 4, "since line 2"),
        ("a: 1\nb: c: d\n", 2, "no YAML: mapping values are not allowed here"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\n--- \nb: 2\n", 2, "another document"),
        ("a: 1\nb: 2\na: 3\n", 3, "is here twice, first in line 1"),
        ("x:\n- {a: 1,\n   a: 2}\n", 3, "is here twice, first in line 2"),
        ("a: 1\nb: {{ data.x }}\n", 2, "a template such as {{ ... }} has to be in quotes"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", 2, "plain values only"),
        ("a: 1\nb: !mine [x]\n", 2, "plain values only"),
        ("a: 1\nb: !!int x\n", 2, "'x' is no int"),
        ('a: 1\nb: "\\ud800"\n', 2, "is no text"),
        (b"a: 1\nb: \xff\n", 2, "is no text"),
        (b"a: 1\nb: \x07\n", 2, "is no text"),
        ("a: 1\nb: &x [*x]\n", 2, "an alias that repeats itself"),
        ("[" * 5000, 1, "more than 20 levels"),
        ("a:\n" + "- b\n" * 30_000, 19_998, "more than 20000 values"),
    ],
)
def test_what_is_no_plain_yaml_is_told_with_its_line(content: str | bytes, line: int, said: str) -> None:
    (found,) = flaws(content)

    assert found[0] == line
    assert said in found[1]


def test_aliases_that_unfold_without_end_are_stopped_early() -> None:
    levels = "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    began = time.monotonic()

    (found,) = flaws("a: &a [x, x]\n" + levels)

    assert "through an alias" in found[1]
    assert time.monotonic() - began < 5


def test_an_alias_that_is_used_as_meant_is_fine() -> None:
    document = files.parse(b"a: &often {first: 5s}\nb: *often\n", "a.yaml")

    assert document.value == {"a": {"first": "5s"}, "b": {"first": "5s"}}
    assert not document.flaws


def test_a_folder_is_its_yaml_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", ".hidden.yaml", "c.txt"):
        (tmp_path / name).write_text("version: 1")

    documents = files.read_all([tmp_path, tmp_path / "a.yaml"])

    assert [Path(each.file).name for each in documents] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("name", "said"), [("missing.yaml", "No such file"), ("empty", "no file here is named"), ("large.yaml", "split it")]
)
def test_a_file_that_cannot_be_read_is_told_as_a_whole(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (files.LARGEST + 1))

    (document,) = files.read_all(tmp_path / name)

    assert [each.line for each in document.flaws] == [0]
    assert said in document.flaws[0].message


def test_a_device_that_never_ends_is_not_read() -> None:
    document = files.read(Path("/dev/zero"))

    assert document.flaws[0].message == "is no file"


@PATIENT
@given(st.one_of(st.binary(max_size=80), st.text(st.sampled_from("ab: -[]{}&*!|>'\"\n\t#%@,?"), max_size=60)))
def test_any_bytes_are_values_or_a_flaw_with_a_line(content: str | bytes) -> None:
    octets = content.encode() if isinstance(content, str) else content

    document = files.parse(octets, "a.yaml")

    assert all(1 <= each.line <= octets.count(b"\n") + octets.count(b"\r") + 5 for each in document.flaws)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")

    (document,) = files.read_all(tmp_path)

    assert document.flaws[0].message == "is no file"
