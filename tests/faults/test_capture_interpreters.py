"""Capture runs on every Python from 3.6 on that is here, and vermin finds nothing in it that 3.6 lacks."""

import json
import os
import subprocess
import sys

import pytest

from tests.interpreters import interpreters
from tests.machine import CAPTURE, command_of, make_spool


@pytest.mark.parametrize(("version", "python"), interpreters().items())
def test_capture_runs_on_every_interpreter_that_is_here(tmp_path, version, python):
    spool = make_spool(tmp_path / "spool")
    arguments = [b"--fsName", b'gp"fs1', b"gr\xc3\xbc\xff", b"\n"]
    for _ in range(2):
        command = command_of("--spool", str(spool), "gpfs", "mount", *arguments, python=python)
        ended = subprocess.run(command, capture_output=True, check=False, timeout=240, env={})
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b""), version

    files = sorted((spool / "new").iterdir())
    found = [json.loads(file.read_bytes()) for file in files]
    assert [[os.fsencode(text) for text in record["arguments"]] for record in found] == [arguments] * 2
    assert [file.name.split(".")[1] for file in files] == [record["id"] for record in found]


@pytest.mark.parametrize(("version", "python"), interpreters().items())
def test_arguments_that_are_too_large_are_kept_on_every_interpreter(tmp_path, version, python):
    spool = make_spool(tmp_path / "spool")
    command = command_of("--spool", str(spool), "gpfs", "mount", *["x" * 100_000] * 15, python=python)

    ended = subprocess.run(command, capture_output=True, check=False, timeout=240, env={})

    (file,) = (spool / "new").iterdir()
    assert ended.returncode == 0, version
    assert (spool / "kept" / json.loads(file.read_bytes())["id"]).stat().st_size == 15 * 100_001 - 1


def test_nothing_in_capture_needs_more_than_python_3_6():
    command = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        "--no-tips",
        "-t=3.6-",
        "--violations",
        str(CAPTURE),
    ]

    ended = subprocess.run(command, capture_output=True, check=False, timeout=240, text=True)

    assert ended.returncode == 0, ended.stdout


def test_capture_imports_nothing_that_is_slow(tmp_path):
    spool = make_spool(tmp_path / "spool")
    command = command_of("--spool", str(spool), "gpfs", "mount")
    command[1:1] = ["-X", "importtime"]

    ended = subprocess.run(command, capture_output=True, check=True, timeout=240, text=True)
    bare = subprocess.run([*command[:4], "-c", "pass"], capture_output=True, check=True, timeout=240, text=True)

    assert names(ended.stderr) - names(bare.stderr) <= {"posix", "sys", "time"}


def names(report: str) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in report.splitlines()}
