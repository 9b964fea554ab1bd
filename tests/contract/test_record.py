"""What the real capture writes, the router reads: both ends of the record's format."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import ids
from router.model.catalogue import load
from router.model.records import Provenance, Record, parse
from router.sources.arguments import escaped
from router.sources.decoders import decode
from shim import capture

CAPTURE = Path(capture.__file__)

ARGUMENT = st.binary(max_size=30).map(lambda raw: raw.replace(b"\0", b""))


def read(body: bytes, node: str) -> Record:
    fields = {"epoch": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "sequence": 7}
    source, event = _named(body)
    return parse(body, Provenance(f"{source}.prod.{event}.{node}", node, fields))


def _named(body: bytes) -> tuple[str, str]:
    fields = json.loads(body)
    return fields["source"], fields["event"]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for name in ("tmp", "new", "bad", "kept"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    return tmp_path / "spool"


def captured(spool: Path, *words: str | bytes) -> Record:
    """Run the real capture and return the record that it spooled, as the router reads it."""
    command = [sys.executable, "-IS", str(CAPTURE), "--spool", str(spool), "--node", "nsd01", *words]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=120, check=False).returncode == 0
    (file,) = (spool / "new").iterdir()
    record = read(file.read_bytes(), "nsd01")
    assert file.name.split(".")[1] == record.id
    return record


def test_the_router_reads_what_capture_wrote(spool: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    record = captured(spool, "gpfs", "softQuotaExceeded", "--fsName", "gpfs1", "--quotaOwnerName", "Ann Lee", "")

    assert (record.source, record.event, record.node, record.cluster) == ("gpfs", "softQuotaExceeded", "nsd01", "prod")
    assert record.arguments == ("--fsName", "gpfs1", "--quotaOwnerName", "Ann Lee", "")
    assert before <= record.moment <= datetime.now(UTC)
    assert record.cut is None


def test_bytes_that_are_no_utf8_come_through_and_can_be_told_apart(spool: Path) -> None:
    record = captured(spool, "gpfs", "mount", b"--quotaOwnerName", b"Andr\xe9", b"caf\xc3\xa9")

    decoded = decode(record.arguments, load("gpfs"))
    assert decoded.data == {"quotaOwnerName": "Andr\\xe9 café"}
    assert decoded.malformed == ("quotaOwnerName",)


def test_names_that_cannot_stand_in_a_key_are_read_as_capture_changed_them(spool: Path) -> None:
    record = captured(spool, "gp fs", "soft.quota/exceeded é")

    assert record.source == "gp_fs"
    assert record.event.startswith("soft_quota_exceeded_")


def test_arguments_that_were_too_large_are_known_to_be_cut(spool: Path) -> None:
    record = captured(spool, "gpfs", "mount", *("x" * 100_000 for _ in range(15)))

    assert record.cut is not None
    assert record.cut >= 1_500_000
    assert sum(map(len, record.arguments)) <= 1 << 20


@given(st.lists(ARGUMENT, max_size=8))
def test_every_byte_of_every_argument_comes_through(arguments: list[bytes]) -> None:
    body = capture.encode(capture.record_now("gpfs", "mount", arguments, "nsd01"))

    record = read(body, "nsd01")

    assert [each.encode("utf-8", "surrogateescape") for each in record.arguments] == arguments
    for each in record.arguments:
        escaped(each).encode()


@given(st.text(max_size=120), st.text(max_size=120), st.text(min_size=1, max_size=80))
def test_any_names_make_a_record_that_the_router_takes(source: str, event: str, node: str) -> None:
    record = capture.record_now(source, event, [], node)
    body = capture.encode(record)

    assert read(body, record.node).event == record.event


@given(st.integers(min_value=0, max_value=253402300799999), st.binary(min_size=10, max_size=10))
def test_the_id_that_capture_makes_is_one_and_tells_the_router_its_moment(milliseconds: int, randomness: bytes) -> None:
    made = capture.ulid(milliseconds * 1_000_000, randomness)

    assert ids.is_id(made)
    assert ids.moment_of(made) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
