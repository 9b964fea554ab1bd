"""The relay's log lines and those of router and consumers: the same formats, with the same keys."""

import json
import re
import subprocess
import sys

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
