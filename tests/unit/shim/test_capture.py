"""What capture makes of what it is called with: records, ids, options.  No disk."""

import json
import os
import string
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim import capture
from shim.capture import Record, encode, parse, quoted, ulid

MOMENT = 1763652127980656123


@pytest.fixture
def make_record():
    def make(*arguments, source="gpfs", event="diskFailure", node="nsd01", moment=MOMENT, boot=""):
        return Record(source, event, list(arguments), node, moment, ulid(moment, bytes(10)), boot)

    return make


def record_of(arguments):
    return Record("gpfs", "diskFailure", arguments, "nsd01", MOMENT, ulid(MOMENT, bytes(10)), "")


@given(st.lists(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_list_of_bytes_comes_back_from_a_record(arguments):
    line = encode(record_of(arguments))

    assert [os.fsencode(text) for text in json.loads(line)["arguments"]] == arguments


@given(st.lists(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_record_is_one_printable_line_of_utf_8(arguments):
    text = encode(record_of(arguments)).decode()

    assert text.splitlines() == [text[:-1]]
    assert all(c.isprintable() or c > "\uffff" for c in text[:-1])


def test_a_record_has_the_fields_of_the_contract_in_their_order(make_record):
    line = encode(make_record(b"--fsName", b"gpfs1", boot="4c0d"))

    assert line == (
        b'{"v":1,"id":"01KAGXQK7C0000000000000000","source":"gpfs","event":"diskFailure","node":"nsd01",'
        b'"captured_at":"2025-11-20T15:22:07.980656123Z","boot":"4c0d","arguments":["--fsName","gpfs1"]}\n'
    )


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_source_event_and_node_are_words_whatever_was_given(source, event, node):
    record = Record(source, event, [], node, MOMENT, ulid(MOMENT, bytes(10)), "")

    letters = string.ascii_letters + string.digits
    for word, allowed, longest in (
        (record.source, letters + "_-", 100),
        (record.event, letters + "_-", 100),
        (record.node, string.ascii_lowercase + string.digits + "-", 63),
    ):
        assert 1 <= len(word) <= longest
        assert set(word) <= set(allowed)


def test_names_of_records_sort_by_their_moments(make_record):
    moments = [1, 999_999_999, 10**18, MOMENT, MOMENT + 1]

    names = [make_record(moment=moment).name for moment in moments]

    assert names == sorted(names)
    assert names[0] == "0000000000000000001.00000000000000000000000000.json"


def test_ids_sort_by_their_milliseconds():
    ids = [ulid(moment * 10**6, bytes([255 - moment] * 10)) for moment in range(50)]

    assert ids == sorted(ids)
    assert {len(each) for each in ids} == {26}


def test_the_largest_id_is_the_ulid_specifications():
    assert ulid((2**48 - 1) * 10**6, b"\xff" * 10) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


def test_a_record_of_now_has_this_node_this_boot_and_an_id_of_its_own():
    records = [capture.record_now("gpfs", "mount", []) for _ in range(100)]

    assert len({record.id for record in records}) == 100
    assert records[0].node == os.uname().nodename.partition(".")[0].lower()
    assert records[0].boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("size", [capture.CUT - 1, capture.CUT])
def test_arguments_over_the_limit_are_cut_to_those_that_fit_whole(make_record, size):
    small, large = b"--fsName", b"x" * size

    fields = json.loads(encode(make_record(small, b"gpfs1", large, b"after")))

    assert fields["arguments"] == ["--fsName", "gpfs1"]
    assert fields["cut"] == {"bytes": 8 + 1 + 5 + 1 + size + 1 + 5, "kept": ""}


def test_arguments_of_just_the_limit_are_not_cut(make_record):
    just, over = (encode(make_record(b"x" * (capture.CUT - size))) for size in (3, 2))

    assert "cut" not in json.loads(just)
    assert "cut" in json.loads(over)


@pytest.mark.parametrize("raw", [b"x", b"\xff", b"\x01", b'"', "\u2028".encode(), "ü".encode(), "\U000e0001".encode()])
def test_no_record_is_larger_than_the_largest_whatever_json_makes_of_its_arguments(make_record, raw):
    many = [raw * 1000] * 3000

    line = encode(make_record(*many, source="s" * 200, event="e" * 200, node="n" * 200))

    fields = json.loads(line)
    assert len(line) < capture.LARGEST
    assert len(line) > capture.CUT - 7000
    assert fields["cut"]["bytes"] == 3000 * (len(raw) * 1000 + 1) - 1
    assert [os.fsencode(text) for text in fields["arguments"]] == many[: len(fields["arguments"])]


def test_what_a_terminal_would_act_on_is_escaped():
    assert quoted(b"\x1b[2J \xc2\x9b \x7f \xe2\x80\xa8") == r'"\u001b[2J \u009b \u007f \u2028"'


@given(st.lists(st.text(string.ascii_letters + "-", max_size=8), max_size=8))
def test_no_command_line_is_refused(words):
    options, rest, wrong = parse(words)

    assert set(options) == {"--spool", "--node", "--wait", "--deadline", "--max-bytes", "--max-files"}
    assert rest == words[len(words) - len(rest) :]
    assert all(isinstance(sentence, str) for sentence in wrong)


def test_options_end_where_the_source_begins():
    options, words, wrong = parse(["--wait", "3", "--node", "nsd07", "gpfs", "mount", "--spool", "/x", "--", "--wait"])

    assert (options["--wait"], options["--node"]) == (3, "nsd07")
    assert words == ["gpfs", "mount", "--spool", "/x", "--", "--wait"]
    assert wrong == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--wait", "long"], "'--wait' 'long'"),
        (["--wait", "nan"], "'--wait' 'nan'"),
        (["--spool", "here"], "'--spool' 'here'"),
        (["--spool", ""], "'--spool' ''"),
        (["--max-files", "many"], "'--max-files' 'many'"),
        (["--nod", "nsd07"], "'--nod' 'nsd07'"),
        (["--quiet"], "'--quiet' ''"),
        (["-v"], "'-v' ''"),
        (["--\udcff"], r"'--\udcff' ''"),
    ],
)
def test_an_option_that_cannot_be_used_keeps_its_default_and_costs_no_word(given, complaint):
    defaults = parse([])[0]

    options, words, wrong = parse([*given, "gpfs", "mount", "--fsName", "gpfs1"])

    assert options == defaults
    assert words == ["gpfs", "mount", "--fsName", "gpfs1"]
    assert wrong == [f"{complaint} is not a valid option"]


def test_capture_has_the_version_of_the_project():
    project = tomllib.loads((Path(capture.__file__).parents[1] / "pyproject.toml").read_text())

    assert project["project"]["version"] == capture.VERSION


@pytest.mark.parametrize("error", [AttributeError, BlockingIOError, OSError])
def test_an_id_is_random_where_the_kernel_has_no_getrandom_or_no_randomness_yet(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(capture.posix, "getrandom", fail)

    assert len({capture.record_now("gpfs", "mount", []).id[10:] for _ in range(10)}) == 10
