"""A file is a record when it says exactly what capture says; nothing else gets through, and nothing crashes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim import capture
from shim.records import Unreadable, check

ID = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"
NAME = f"1763652127980656123.{ID}.json"
FIELDS = {
    "v": 1,
    "id": ID,
    "source": "gpfs",
    "event": "softQuotaExceeded",
    "node": "nsd01",
    "captured_at": "2026-11-20T15:22:07.980656123Z",
    "boot": "4c0d",
    "arguments": ["--fsName", "gpfs1"],
}


def line(**changed: object) -> bytes:
    fields = {**FIELDS, **changed}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode() + b"\n"


@given(
    st.lists(st.binary(max_size=30), max_size=10), st.text(max_size=120), st.text(max_size=120), st.text(max_size=80)
)
def test_all_that_capture_writes_is_a_record(arguments: list[bytes], source: str, event: str, node: str) -> None:
    captured = capture.record_now(source, event, arguments, node)
    text = capture.encode(captured)

    record = check(captured.name, text, "prod")

    assert record.id == captured.id
    assert record.key == f"{captured.source}.prod.{captured.event}.{captured.node}"
    assert record.body == text


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2},
        {"v": True},
        {"v": ...},
        {"id": ID.lower()},
        {"id": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RC"},
        {"id": ...},
        {"source": "gp.fs"},
        {"source": ""},
        {"source": "a" * 101},
        {"source": "a\n"},
        {"event": "*"},
        {"event": 5},
        {"node": "NSD01"},
        {"node": "a.b"},
        {"captured_at": "yesterday"},
        {"captured_at": "2026-11-20T15:22:07.980656123Z\n"},
        {"captured_at": "٢٠٢٦-11-20T15:22:07.980656123Z"},
        {"boot": None},
        {"arguments": "--fsName"},
        {"arguments": [1]},
        {"arguments": ...},
        {"cut": 5},
        {"cut": {"bytes": "many"}},
        {"further": 1},
        {"source": "s" * 100, "event": "e" * 100, "node": "n" * 63},
    ],
)
def test_a_field_that_capture_would_not_write_makes_it_no_record(changed: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        check(NAME, line(**changed), "prod")


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"null\n", b"[]\n", b'"x"', b"\xff\xfe", b"[" * 100_000, line() + line(), b"\n" + line(), line()[:-9]],
)
def test_a_text_that_is_not_one_json_object_on_one_line_is_no_record(text: bytes) -> None:
    with pytest.raises(Unreadable):
        check(NAME, text, "prod")


@pytest.mark.parametrize("name", ["x", NAME + "\n", NAME[1:], NAME.lower(), f"{'٣' * 19}.{ID}.json", ""])
def test_a_file_of_another_name_is_no_record(name: str) -> None:
    with pytest.raises(Unreadable):
        check(name, line(), "prod")


@given(st.binary(max_size=200))
def test_random_bytes_are_no_record(text: bytes) -> None:
    with pytest.raises(Unreadable):
        check(NAME, text, "prod")
