"""What GPFS's callbacks run: capture from cached bytecode, and from source where the cache is damaged."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interpreters import interpreters
from tests.machine import CAPTURE, PYTHON, make_spool


def install(folder: Path, spool: Path) -> Path:
    """Install capture and its GPFS entry in *folder* as a deployment would, for *spool*."""
    folder.mkdir()
    shutil.copy(CAPTURE, folder / "capture.py")
    entry = folder / "capture-gpfs"
    script = CAPTURE.with_name("capture_gpfs.py").read_text()
    filled = script.replace("\nOPTIONS = []", f"\nOPTIONS = {['--spool', str(spool), '--node', 'nsd01']!r}")
    assert filled != script
    entry.write_text(filled)
    return entry


def run(entry: Path, python: str, *words: str) -> None:
    ended = subprocess.run([python, "-IS", entry, *words], capture_output=True, check=False, timeout=240, env={})
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def stored(spool: Path) -> list[dict]:
    return [json.loads(file.read_bytes()) for file in sorted((spool / "new").iterdir())]


@pytest.mark.parametrize(("version", "python"), interpreters().items())
def test_a_callback_is_stored_as_gpfs_gave_it_on_every_interpreter(tmp_path: Path, version: str, python: str) -> None:
    spool = make_spool(tmp_path / "spool")
    entry = install(tmp_path / "libexec", spool)

    for _ in range(2):
        run(entry, python, "mount", "--fsName", "gpfs1")

    assert [(each["source"], each["event"], each["node"], each["arguments"]) for each in stored(spool)] == [
        ("gpfs", "mount", "nsd01", ["--fsName", "gpfs1"])
    ] * 2, version


@pytest.mark.parametrize("damage", ["cut", "rubbish", "empty", "a folder"])
def test_damaged_bytecode_costs_time_and_no_event(tmp_path: Path, damage: str) -> None:
    spool = make_spool(tmp_path / "spool")
    entry = install(tmp_path / "libexec", spool)
    run(entry, PYTHON, "mount")
    (cached,) = (tmp_path / "libexec" / "__pycache__").iterdir()

    whole = cached.read_bytes()
    if damage == "a folder":
        cached.unlink()
        cached.mkdir()
    else:
        cached.write_bytes({"cut": whole[:1000], "rubbish": whole[:16] + b"\xff" * 500, "empty": b""}[damage])
    run(entry, PYTHON, "unmount")

    assert [each["event"] for each in stored(spool)] == ["mount", "unmount"]


def test_a_new_capture_replaces_the_bytecode_of_the_old_one(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    entry = install(tmp_path / "libexec", spool)
    run(entry, PYTHON, "mount")
    script = tmp_path / "libexec/capture.py"
    new = script.read_text().replace('{"v":1,', '{"v":22,')
    assert new != script.read_text()
    script.write_text(new)

    for event in ("unmount", "quota"):
        run(entry, PYTHON, event)

    assert [(each["v"], each["event"]) for each in stored(spool)] == [(1, "mount"), (22, "unmount"), (22, "quota")]


def test_nothing_beside_the_entry_is_found_by_way_of_the_callers_folder_or_environment(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    entry = install(tmp_path / "libexec", spool)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name in ("capture.py", "sitecustomize.py", "posix.py", "time.py"):
        (hostile / name).write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")

    ended = subprocess.run(
        [PYTHON, "-IS", entry, "mount"], check=False, timeout=240, cwd=hostile, env={"PYTHONPATH": str(hostile)}
    )

    assert ended.returncode == 0
    assert not (tmp_path / "owned").exists()
    assert len(stored(spool)) == 1
