"""The relay's log lines and those of router and consumers: the same formats, with the same keys."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

OURS = """
import logging, sys
from router.cli import logging as logs
logs.configure(form=sys.argv[1])
facts = {"host": "mq1", "reason": "a \\"b\\" c", "tries": 3}
logging.getLogger("consumers.delivery").warning("broker is gone", extra=facts)
"""
RELAYS = """
import logging, sys
from shim.logs import set_up_logging
set_up_logging(sys.stderr, sys.argv[1])
facts = {"host": "mq1", "reason": "a \\"b\\" c", "tries": 3}
logging.getLogger("clusterbus.relay").warning("broker is gone", extra=facts)
"""
PAIR = re.compile(r'(\S+?)=("(?:[^"\\]|\\.)*"|\S*)')


def line(program: str, form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, form], capture_output=True, text=True, timeout=240, check=True
    )
    (found,) = done.stderr.splitlines()
    return found


def read(text: str, form: str) -> dict[str, str]:
    if form == "json":
        return {name: str(value) for name, value in json.loads(text).items()}
    return {name: json.loads(value) if value[:1] == '"' else value for name, value in PAIR.findall(text)}


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_both_say_the_same_in_the_same_words(form):
    ours, relays = read(line(OURS, form), form), read(line(RELAYS, form), form)

    moments = [each.pop("timestamp") for each in (ours, relays)]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", each) for each in moments)
    assert ours | {"logger": ""} == relays | {"logger": ""}
    assert (ours["level"], ours["event"], ours["reason"]) == ("warning", "broker is gone", 'a "b" c')


LEVELS = """
for level in (10, 20, 30, 40, 50):
    logging.getLogger(NAME).log(level, "something")
"""
FAILING = (
    "from consumers.cli.main import main; import sys; sys.argv[1:] = ['--settings', '/none.yaml', 'check']; main()"
)


def in_journal(program: str, folder: Path, *, is_journal: bool = True) -> list[str]:
    """Return the lines that *program* writes to what systemd has named as the journal."""
    with (folder / "journal").open("w+") as journal:
        found = os.fstat(journal.fileno())
        inode = found.st_ino if is_journal else found.st_ino + 1
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{inode}"}
        words = [sys.executable, "-c", program, "json"]
        subprocess.run(words, stderr=journal, timeout=240, check=False, env=environment)
    return (folder / "journal").read_text().splitlines()


@pytest.mark.parametrize("program", [OURS.replace("logs.configure(form=sys.argv[1])", ""), RELAYS])
def test_each_line_in_the_journal_has_its_priority(program: str, tmp_path: Path) -> None:
    name = "clusterbus.relay" if program == RELAYS else "router"
    ready = program if program == RELAYS else program + "logs.configure(form='json', level='DEBUG')"
    levels = LEVELS.replace("NAME", repr(name))

    lines = in_journal(f"{ready}{levels}", tmp_path)[-5:]

    logged = [each.partition(">")[0] for each in lines if '"something"' in each]
    assert logged == (["<6", "<4", "<3", "<2"] if program == RELAYS else ["<7", "<6", "<4", "<3", "<2"])


def test_an_error_that_ends_a_program_and_a_traceback_have_the_priority_of_errors(tmp_path: Path) -> None:
    failed = in_journal(FAILING, tmp_path)
    crashed = in_journal("from router.cli import logging; logging.configure(); 1 / 0", tmp_path)

    assert failed
    assert len(crashed) > 2
    assert [each for each in (*failed, *crashed) if not each.startswith("<3>")] == []


def test_what_goes_elsewhere_has_no_priority(tmp_path: Path) -> None:
    assert [each[:1] for each in in_journal(RELAYS, tmp_path, is_journal=False)] == ["{"]
    assert [each[:1] for each in in_journal(OURS, tmp_path, is_journal=False)] == ["{"]
