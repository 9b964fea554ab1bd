"""The time zone of this machine: `TZ`, else /etc/localtime, which may be a link or a copy, else UTC."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from router.settings import local_zone

SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)
TOKYO, BERLIN = timedelta(hours=9), timedelta(hours=2)


@pytest.fixture
def localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc/localtime: a link to Tokyo's rules."""
    file = tmp_path / "localtime"
    file.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    monkeypatch.setattr(local_zone, "_LOCALTIME", file)
    monkeypatch.delenv("TZ", raising=False)
    return file


def offset() -> timedelta | None:
    return SUMMER.astimezone(local_zone.local_zone()).utcoffset()


@pytest.mark.usefixtures("localtime")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Europe/Berlin", BERLIN),
        (":Europe/Berlin", BERLIN),
        ("UTC", timedelta()),
        ("", TOKYO),
        ("CET-1CEST", TOKYO),
        ("Nowhere/Such", TOKYO),
    ],
)
def test_a_zone_in_tz_counts_and_anything_else_there_is_left_to_the_machine(
    name: str, expected: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", name)

    assert offset() == expected


def test_a_link_to_the_rules_gives_the_zone_with_its_name(localtime: Path) -> None:
    assert localtime.is_symlink()
    assert local_zone.local_zone() == ZoneInfo("Asia/Tokyo")


def test_a_copy_of_the_rules_gives_a_zone_with_summer_time(localtime: Path) -> None:
    rules = next((file for each in TZPATH if (file := Path(each) / "Europe/Berlin").exists()), None)
    if rules is None:
        pytest.skip("this machine has no files of time zones")
    localtime.unlink()
    localtime.write_bytes(rules.read_bytes())

    assert offset() == BERLIN
    assert datetime(2026, 1, 1, tzinfo=UTC).astimezone(local_zone.local_zone()).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("content", [None, b"no rules"])
def test_without_rules_it_is_utc(localtime: Path, content: bytes | None) -> None:
    localtime.unlink()
    if content is not None:
        localtime.write_bytes(content)

    assert local_zone.local_zone() is UTC
