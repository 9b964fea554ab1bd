"""What commands share: what is shown to people is what was seen, whatever it holds."""

import pytest

from router.command import show_verdicts


@pytest.mark.parametrize("seen", ["command is /x[/bold]", "nsd[01-04] [red]differ", "[/]", "\\[link=x]"])
def test_what_was_seen_is_shown_as_it_is_and_not_taken_for_markup(capsys, monkeypatch, seen):
    monkeypatch.setenv("COLUMNS", "200")

    show_verdicts([("wrong", f"part {seen}", seen, f"mend {seen}")])

    said = " ".join(capsys.readouterr().out.split())
    assert said == f"wrong part {seen} {seen} → mend {seen}"
