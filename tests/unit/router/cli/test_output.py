"""What commands print: text is text, tables keep ids whole, and what steers a terminal is shown and not sent."""

import io
import json
import logging
import os
import sys
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.programs.demo.alert_lines import AlertResult
from consumers.programs.demo.result_counts import ResultCounts
from consumers.programs.demo.screen import Line, Screen
from router.cli import logging as logs
from router.cli import output
from router.cli.output import Live, Styled, fields, note, rows, say, show, verdicts
from router.terminal_text import encoded, visible, width_of

NAMES = {"id": lambda each: each[0], "event": lambda each: each[1], "reason": lambda each: each[2]}
ID = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"


class Terminal(io.StringIO):
    """A terminal with so many columns."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes stdout and stderr one terminal of so many columns."""

    def made(columns=80, **environment):
        found = Terminal()
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, found)
        monkeypatch.setattr(output, "_size", lambda _: os.terminal_size((columns, 24)))
        for name, value in {"TERM": "xterm", "NO_COLOR": "", **environment}.items():
            monkeypatch.setenv(name, value)
        return found

    return made


@given(st.text(st.characters(exclude_characters="\\")))
def test_what_is_visible_is_printable_stays_so_and_says_which_characters_there_were(text):
    shown = visible(text)

    assert shown.isprintable()
    assert visible(shown) == shown
    assert text in (shown, shown.encode("ascii", "backslashreplace").decode("unicode_escape"))


@pytest.mark.parametrize(
    "name",
    [
        "RIGHT-TO-LEFT OVERRIDE",
        "LEFT-TO-RIGHT ISOLATE",
        "ARABIC LETTER MARK",
        "ZERO WIDTH SPACE",
        "ZERO WIDTH JOINER",
        "WORD JOINER",
        "VARIATION SELECTOR-16",
        "HANGUL FILLER",
        "COMBINING GRAPHEME JOINER",
        "LINE SEPARATOR",
        "NO-BREAK SPACE",
        "TAG LATIN SMALL LETTER A",
        "BRAILLE PATTERN BLANK",
    ],
)
def test_a_character_that_is_not_to_be_seen_is_shown_as_its_escape(name):
    character = unicodedata.lookup(name)

    assert visible(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"


def test_letters_of_all_languages_stay_as_they_are():
    for text in ("Grüße, naïve", "語", "עברית", "е́", "✓ → …"):
        assert visible(text) == text


@given(st.recursive(st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)))
def test_json_is_printable_ascii_and_means_the_same(value):
    text = encoded(value)

    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


def test_in_a_pipe_a_row_is_a_line_with_tabs_and_nothing_is_cut(capsys):
    rows([(ID, "a\tb", "x\n" * 200)], NAMES, cut=True)

    assert capsys.readouterr().out == f"{ID}\ta\\tb\t{'x' + chr(92) + 'n'}" + "x\\n" * 199 + "\n"


def test_an_empty_table_says_so_beside_the_result(capsys):
    rows([], NAMES, empty="no letters")

    assert capsys.readouterr() == ("", "no letters\n")


def test_rows_as_json_have_the_facts_and_no_more(capsys):
    @dataclass
    class Fact:
        id: str
        hidden: int = 1

    rows([Fact("a"), Fact("b")], {"id": lambda each: each.id}, as_json=True)
    rows([], NAMES, as_json=True, empty="no letters")

    assert capsys.readouterr() == ('{"id": "a", "hidden": 1}\n{"id": "b", "hidden": 1}\n', "")


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_on_a_terminal_ids_are_whole_and_lines_fit_whatever_its_width(terminal, columns):
    screen = terminal(columns)

    rows([(ID, "gpfs.softQuotaExceeded", "語 " * 100), (ID, "", "")], NAMES, cut=True)

    lines = screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert sum(ID in line for line in lines) == 2
    assert sum("gpfs.softQuotaExceeded" in line for line in lines) == 1
    assert all(width_of(line) <= columns for line in lines), lines
    assert any(line.endswith("…") for line in lines)


def test_a_last_cell_that_is_not_cut_is_shown_whole_over_as_many_lines_as_it_takes(terminal):
    screen, plan = terminal(60), "rm -rf /gpfs/a " * 20 + "x" * 100

    rows([(ID, "e", plan)], NAMES)

    _, *lines = screen.getvalue().splitlines()
    start = lines[0].index("rm")
    assert "".join(line[start:].ljust(1) for line in lines).replace(" ", "") == plan.replace(" ", "")
    assert all(len(line) <= 60 for line in lines)
    assert all(not line[:start].strip() for line in lines[1:])


def test_wide_and_combining_characters_are_counted_as_a_terminal_does(terminal):
    screen = terminal()

    rows([("語語", "x", "1"), ("e\u0301", "x", "2"), ("abcd", "x", "3")], NAMES)

    assert len({width_of(line[: line.index("x")]) for line in screen.getvalue().splitlines()[1:]}) == 1


@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_styles_are_for_terminals_that_want_them(terminal, capsys, wish):
    show(Styled("red", "bold red"))
    assert capsys.readouterr().out == "red\n"

    screen = terminal()
    show(Styled("red", "bold red"), " plain")
    assert screen.getvalue() == "\x1b[1;31mred\x1b[0m plain\n"

    screen = terminal(**wish)
    show(Styled("red", "bold red"))
    assert screen.getvalue() == "red\n"


@pytest.mark.parametrize("seen", ["command is /x[/bold]", "nsd[01-04] [red]differ", "[/]", "\\[link=x]"])
def test_what_looks_like_markup_is_text_wherever_it_is_printed(terminal, capsys, seen):
    say(seen, as_json=False)
    note(seen)
    fields([(seen, seen)])
    verdicts([("error", seen, seen, f"correct {seen}")])
    assert capsys.readouterr() == (f"{seen}\n{seen}\t{seen}\nerror\t{seen}\t{seen}\tcorrect {seen}\n", f"{seen}\n")

    screen = terminal(200)
    verdicts([("error", seen, seen, f"correct {seen}")])
    said = screen.getvalue().replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert said.split() == ["error", *seen.split(), *seen.split(), "→", "correct", *seen.split()]


def test_text_of_several_lines_is_given_as_such_and_a_value_cannot_begin_another(capsys):
    say({}, as_json=False, text=["a", "b\nclusterbus: ok"])

    assert capsys.readouterr().out == "a\nb\\nclusterbus: ok\n"


def test_what_a_terminal_of_another_encoding_lacks_does_not_end_the_command(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)

    show("→ é 語")

    assert stream.buffer.getvalue() == b"\\u2192 \xe9 \\u8a9e\n"


def test_an_answer_that_is_not_yes_ends_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\nmaybe\n"))

    output.confirm("Do \x1b[2J these?")
    with pytest.raises(SystemExit) as ended:
        output.confirm("And these?")

    assert ended.value.code == 1
    assert capsys.readouterr().err == "Do \\x1b[2J these? [y/N]: And these? [y/N]: aborted\n"


def test_live_lines_are_replaced_on_a_terminal_and_not_there_elsewhere(terminal, capsys):
    live = Live()
    live.replace([["1 of 2"]])
    live.show("kept")
    assert capsys.readouterr().out == "kept\n"

    screen = terminal(10)
    live = Live()
    live.replace([["語語語語語語"], ["\x1b[2J"]])
    live.show("kept")
    live.replace([])
    drawn = "語語語語…\n\\x1b[2J\n"
    assert screen.getvalue() == f"{drawn}\x1b[2F\x1b[Jkept\n{drawn}\x1b[2F\x1b[J"


def test_the_screen_of_the_demo_shows_hostile_events_as_text(terminal):
    screen = terminal(200)
    line = Line(
        "1", "2026-11-20T15:22:07Z", "[/boo]", "error", "\x1b[2J\u202e", "[red]", 1, {"a": ["done"], "b": [None]}
    )

    alert = replace(line, id="2", rule="\x1b[3J", detail="by \x1b[4J")
    counts = ResultCounts(1, 0, 1, 0, 1, 1, owed=1, delivered=1, retried=0, dead=0, changes=1, changes_audited=1)
    result = AlertResult("disk-down", "\x1b[5J", "error", "open", datetime(2026, 1, 1, tzinfo=UTC), 1, 1, "\x1b[6J")

    with Screen() as shown:
        shown.say("[/boo]\x1b[2J")
        shown.show([line, alert], None)
        shown.show_result(counts, [result], 1)

    said = screen.getvalue()
    assert "[/boo]" in said
    assert "[red]" in said
    assert "\\x1b[2J\\u202e" in said
    for number in (2, 3, 4, 5, 6):
        assert f"\\x1b[{number}J" in said
        assert f"\x1b[{number}J" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize("wish", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_log_lines_on_a_terminal_are_visible_and_have_colours_only_where_they_are_wanted(terminal, wish):
    screen = terminal(**wish)
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        logs.configure()
        try:
            int("[/boo]\x1b[2J\u202e")
        except ValueError:
            logging.getLogger("x").exception("failed \x1b[2J\u202e", extra={"file": "\x1b[2J\u202e\nok", "n": ["\x07"]})
    finally:
        logging.getLogger().handlers[:], _ = before
        logging.getLogger().setLevel(before[1])

    said = screen.getvalue()
    assert "\x1b[2J" not in said
    assert not {"\x07", "\u202e"} & {*said}
    assert said.count("\\x1b[2J\\u202e") >= 3
    assert "ValueError: " in said
    assert ("\x1b" in said) == (not wish)
