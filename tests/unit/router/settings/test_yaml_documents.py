"""YAML files as values that know their lines."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.settings import yaml_documents


def flaws(content: str | bytes) -> list[tuple[int, str]]:
    document = yaml_documents.parse(content.encode() if isinstance(content, str) else content, "a.yaml")
    return [(each.line, each.message) for each in document.flaws]


def test_every_value_knows_its_line() -> None:
    document = yaml_documents.parse(
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


def test_a_missing_place_has_the_line_of_what_is_around_it() -> None:
    document = yaml_documents.parse(b"a:\n  b:\n    c: 1\n", "a.yaml")

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
        ("0x10", 16),
        ("0o17", 15),
        ("0123", 123),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("y", "y"),
        ("1e3", 1000.0),
        ("12:30:45", "12:30:45"),
        ("'<<'", "<<"),
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
    document = yaml_documents.parse(f"on: {text}".encode(), "a.yaml")

    assert document.value == {"on": value}
    assert not document.flaws


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("a: 1\nb:\n\t- c\n", 3, "a tab at column 1: use spaces, not tabs, in YAML"),
        ("a: 1\n\tb: 2\n", 2, "a tab at column 1: use spaces, not tabs, in YAML"),
        ("a: 1\nb: [1,\nc: 2\n", 4, "since line 2"),
        ("a: 1\nb: c: d\n", 2, "not valid YAML: mapping values are not allowed here"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\n--- \nb: 2\n", 2, "another document"),
        ("a: 1\nb: 2\na: 3\n", 3, "appears twice, first on line 1"),
        ("x:\n- {a: 1,\n   a: 2}\n", 3, "appears twice, first on line 2"),
        ("a: 1\nb: {{ data.x }}\n", 2, "put a template such as {{ ... }} in quotes"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", 2, "only plain values are allowed"),
        ("a: 1\nb: !mine [x]\n", 2, "only plain values are allowed"),
        ("a: 1\nb: !!int x\n", 2, "is not an integer"),
        ("a: 1\nb: !!bool yes\n", 2, "is neither true nor false"),
        ("a: 1\nb: !!null x\n", 2, "is not null"),
        ("a: 1\nb: 99999999999999999999\n", 2, "is not an integer of at most 64 bits; put text in quotes"),
        ("a: 1\nb: -" + "9" * 5000 + "\n", 2, "is not an integer of at most 64 bits"),
        ("a: 1\nb: .nan\n", 2, "is not a finite number; put text in quotes"),
        ("a: 1\nb: -.inf\n", 2, "is not a finite number"),
        ("a: 1\nb: 1e999\n", 2, "is not a finite number"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", 3, "merge keys (<<) are not YAML 1.2: write the fields out"),
        ('a: 1\nb: "\\ud800"\n', 2, "is not valid Unicode text"),
        (b"a: 1\nb: \xff\n", 2, "octet 0xFF is not UTF-8: save the file as UTF-8"),
        ("a: Möbel\nb: Löcher\n".encode("latin-1"), 1, "octet 0xF6 is not UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "octet 0xFF is not UTF-8"),
        ("ä: ööööööö\nb: \x07\n", 2, "the character U+0007 is not allowed in YAML"),
        ("a: 1\nb: \0\n", 2, "the character U+0000 is not allowed in YAML"),
        ("a: 1\nb: &x [*x]\n", 2, "an alias that repeats itself"),
        ("[" * 5000, 1, "more than 20 levels"),
        ("a:\n" + "- b\n" * 30_000, 19_998, "more than 20000 values"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(content: str | bytes, line: int, said: str) -> None:
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
    assert time.monotonic() - began < 60


def test_an_alias_that_is_used_as_meant_is_fine() -> None:
    document = yaml_documents.parse(b"a: &often {first: 5s}\nb: *often\n", "a.yaml")

    assert document.value == {"a": {"first": "5s"}, "b": {"first": "5s"}}
    assert not document.flaws


def test_a_device_that_never_ends_is_not_read() -> None:
    document = yaml_documents.read(Path("/dev/zero"))

    assert document.flaws[0].message == "is not a regular file"


@given(st.one_of(st.binary(max_size=80), st.text(st.sampled_from("ab: -[]{}&*!|>'\"\n\t#%@,?"), max_size=60)))
def test_any_bytes_are_values_or_a_flaw_with_a_line(content: str | bytes) -> None:
    octets = content.encode() if isinstance(content, str) else content

    document = yaml_documents.parse(octets, "a.yaml")

    assert all(1 <= each.line <= octets.count(b"\n") + octets.count(b"\r") + 5 for each in document.flaws)


@pytest.mark.parametrize("content", ["", "# only a comment\n", "\ufeff"])
def test_an_empty_file_has_no_value_no_lines_and_no_flaws(content: str) -> None:
    document = yaml_documents.parse(content.encode(), "a.yaml")

    assert (document.value, document.lines, document.flaws) == (None, {}, ())


@pytest.mark.parametrize(
    "content",
    [
        "password: *hunter22\n",
        "password: !hunter22 x\n",
        "password: 'hunter22\n",
        "password: hunter22: x\n",
        "password: @hunter22\n",
        "password: &hunter22\n",
        "password: |hunter22\n",
        "%hunter22 x\n---\na: 1\n",
        "a: 1\n- hunter22\n",
        "\thunter22: 1\n",
        'password: "hunter22\\q"\n',
        "hunter22\n: x: y\n",
        "password: !!int hunter22\n",
        "password: !!binary hunter22\n",
    ],
)
def test_no_message_repeats_a_word_of_the_file(content: str) -> None:
    document = yaml_documents.parse(content.encode(), "a.yaml")

    assert "hunter22" not in " ".join(each.message for each in document.flaws)
