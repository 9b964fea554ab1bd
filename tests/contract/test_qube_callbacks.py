"""What generated callbacks write inside a supervisor, the relay takes and the router reads; nothing gets out."""

import json
import os
from pathlib import Path

import pytest

from router.model.catalogue import load
from router.model.records import Provenance, parse
from router.sources.arguments import Decoded
from router.sources.decoders import decode
from shim.spool import Spool
from tests.interpreters import interpreters
from tests.qube import WAYS, Farm

BEHAVIOURS = (
    *("normal", "raises", "empty", "exits", "interrupted", "hostile", "broken", "unspeakable", "speechless"),
    *("circle", "absent", "bare"),
)
FAILED = "failed-job-self"
EVERY = interpreters(with_2_7=True)
PYTHONS = pytest.mark.parametrize("version", EVERY)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = Farm(tmp_path)
    farm.apply()
    return farm


def read(farm: Farm) -> list[tuple[str, Decoded]]:
    """Return what the router makes of what the relay takes from the spool: the event and its values."""
    spool = Spool(farm.spool, "prod")
    try:
        taken = spool.take(1000, 1 << 30)
        assert taken.unreadable == []
        return [_one(each.key, each.body, spool.epoch, each.sequence) for each in taken.records]
    finally:
        spool.close()


def _one(key: str, body: bytes, epoch: str, sequence: int) -> tuple[str, Decoded]:
    record = parse(body, Provenance(key, "super01", {"v": 1, "epoch": epoch, "sequence": sequence}))
    assert (record.source, record.cluster, record.node) == ("qube", "prod", "super01")
    return record.event, decode(record.arguments, load("qube"))


def test_the_router_reads_what_a_callback_wrote(farm):
    farm.fire(f"one:normal:{FAILED}")

    ((event, decoded),) = read(farm)
    assert event == "failedJob"
    assert decoded == Decoded(
        {
            "id": 19294,
            "name": "shot_010 --user grün 😀",
            "status": "failed",
            "user": "ann",
            "pgrp": 19294,
            "pid": 0,
            "label": None,
            "prototype": "cmdrange",
            "priority": 9999,
            "cluster": "/",
            "account": None,
            "cpus": 12,
            "hosts": ["render01", "render02"],
            "groups": None,
            "problem": None,
        }
    )


def test_values_that_an_owner_of_a_job_made_up_stay_values(farm):
    farm.fire(f"one:hostile:{FAILED}")

    ((_, decoded),) = read(farm)
    given = {name: decoded.data[name] for name in ("name", "user", "label", "account", "hosts", "id")}
    assert given == {
        "name": "caf\\xe9 \"'\\\n\r\t\\xed\\xa0\\x80%s {{ 1 }} @SPOOL@",
        "user": "--id",
        "label": "\u2028\x1b[2J\x7f",
        "account": "nul\\x00here",
        "hosts": "a,b c",
        "id": 19294,
    }
    assert decoded.data["cpus"] == "07"
    assert sorted(decoded.malformed) == ["cpus", "hosts", "name", "priority"]


def test_secrets_of_a_job_are_not_asked_for(farm):
    farm.fire(f"one:normal:{FAILED}")

    assert "secret" not in json.dumps(farm.records())


@PYTHONS
def test_nothing_gets_out_however_a_callback_is_run_and_each_leaves_a_record(farm, version):
    tried = [(way, each) for way in WAYS for each in (BEHAVIOURS if way in ("one", "bound-split") else BEHAVIOURS[:6])]
    firings = [f"{way}:{behaviour}:{FAILED}" for way, behaviour in tried]

    ran = farm.fire(*firings, python=EVERY[version])

    assert [each for each in ran if each["escaped"] or not each["same"] or each["stderr"]] == []
    written = read(farm)
    assert [event for event, _ in written] == ["failedJob"] * len(firings) == ["failedJob"] * len(ran)
    assert list((farm.spool / "tmp").iterdir()) == []
    for way in WAYS:
        values = zip(tried, (decoded.data for _, decoded in written), strict=True)
        _check_values({behaviour: data for (other, behaviour), data in values if other == way})


def _check_values(by_behaviour):
    normal, raising, exiting = (by_behaviour[each] for each in ("normal", "raises", "exits"))
    assert (normal["name"], normal["hosts"]) == ("shot_010 --user grün 😀", ["render01", "render02"])
    assert (raising["id"], raising["name"]) == (19294, None)
    assert "no such job" in raising["problem"]
    assert (exiting["id"], exiting["problem"][:10]) == (None, "SystemExit")
    assert by_behaviour["empty"]["problem"] == "jobinfo knows no such job"
    if "bare" in by_behaviour:
        assert by_behaviour["bare"]["problem"] is None
        assert by_behaviour["unspeakable"]["user"] == "ann"
        assert by_behaviour["speechless"]["problem"] == "UnspeakableError"


@pytest.mark.parametrize("version", sorted({*EVERY} & {"2.7", "3.6", "3.13"}))
def test_arguments_that_are_too_large_are_cut_and_kept_whole_beside(farm, version):
    (ran,) = farm.fire(f"one:huge:{FAILED}", python=EVERY[version])

    (record,) = farm.records()
    kept = (farm.spool / "kept" / record["cut"]["kept"]).read_bytes()
    assert ran["escaped"] is None
    assert len(kept) == record["cut"]["bytes"]
    assert kept.split(b"\0")[:4] == [b"--id", b"19294", b"--name", b"x" * 3_000_000]
    assert record["arguments"] == ["--id", "19294", "--name"]
    assert read(farm)[0][1].data["id"] == 19294


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("groups", ["--groups=4242", "--clear-groups"])
def test_a_supervisor_that_is_not_root_stores_by_the_group_of_the_spool_and_else_says_what_is_lost(
    tmp_path, require, groups
):
    python = require("/usr/bin/python3")
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    farm = Farm(tmp_path)
    farm.apply()
    for path in (farm.spool, *farm.spool.rglob("*")):
        os.chown(path, 0, 4242)
        path.chmod(0o2770 if path.is_dir() else 0o660)
    farm.log.touch()
    os.chown(farm.log, 65534, 65534)

    become = [require("setpriv"), "--reuid=65534", "--regid=65534", groups]
    (ran,) = farm.fire(f"one:normal:{FAILED}", python=python, before=become)

    written = [(each.stat().st_uid, each.stat().st_gid) for each in (farm.spool / "new").iterdir()]
    assert (ran["escaped"], ran["same"]) == (None, True)
    if groups == "--clear-groups":
        assert written == []
        assert "Permission denied" in farm.log.read_text() + ran["stderr"]
    else:
        assert written == [(65534, 4242)]
        assert read(farm)[0][1].data["id"] == 19294


def test_files_are_for_the_relay_to_read_whatever_the_umask_of_the_supervisor(farm):
    before = os.umask(0o077)
    try:
        farm.fire(f"one:normal:{FAILED}")
    finally:
        os.umask(before)

    (file,) = (farm.spool / "new").iterdir()
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.name.split(".")[1] == farm.records()[0]["id"]


def test_each_trigger_runs_its_own_file_and_no_other(farm):
    triggers = [each.trigger for each in farm.registrar.show()]

    farm.fire(*(f"one:normal:{each}" for each in [*triggers, "done-job-self", "submit-job-parent"]))

    assert [each["event"] for each in farm.records()] == [
        *("submitJob", "runningJob", "blockedJob", "completeJob", "failedJob", "killedJob", "removedJob"),
    ]


def test_a_callback_takes_milliseconds(farm):
    ran = farm.fire(*[f"one:normal:{FAILED}"] * 20)

    assert sorted(each["seconds"] for each in ran)[10] < 0.1
