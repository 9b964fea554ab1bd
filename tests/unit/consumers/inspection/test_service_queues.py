"""What doctor says of services of other teams."""

from pathlib import Path

import pytest

from consumers.inspection.doctor.service_queues import examine, queues, read
from router.broker.amqp.requests import Facts
from router.services.definitions import Service
from router.services.service_files import Definition
from router.settings.models import Settings

WANTED = {"a": Definition(Service(name="a", on=("disk",), owner="team@example.com"), (), Path("a.yaml"), 1)}
MAIN, DEAD, MISSED, LOST = (f"clusterbus.svc.a{each}" for each in ("", ".dead", ".missed", ".lost"))


AGE = ", the age of the oldest is unknown"


@pytest.mark.parametrize(
    ("waiting", "consumers", "given_up", "missed", "said"),
    [
        (0, 0, 0, 0, ["ok a: 0 events wait, 0 consumers"]),
        (1, 1, 0, 0, ["ok a: 1 event waits, the age of the oldest is unknown, 1 consumer"]),
        (5, 0, 0, 0, [f"warning a reads nothing; 5 events wait{AGE}"]),
        (10_001, 1, 0, 0, [f"warning a is behind; 10,001 events wait{AGE}"]),
        (
            5,
            0,
            0,
            1,
            [f"error a missed 1 event, because its queue was full; 5 events wait{AGE}"],
        ),
        (
            5,
            0,
            0,
            3,
            [f"error a missed 3 events, because its queue was full; 5 events wait{AGE}"],
        ),
        (
            *(0, 1, 2, 0),
            ["ok a: 0 events wait, 1 consumer", "warning a gave up 2 events: it rejected them, or failed 20 times"],
        ),
    ],
)
def test_what_waits_and_was_missed_is_told(waiting: int, consumers: int, given_up: int, missed: int, said: list[str]):
    known = {MAIN: Facts(waiting, consumers), DEAD: Facts(given_up, 0), MISSED: Facts(missed, 0)}

    found = list(examine(known, WANTED))

    assert [f"{each.verdict} {each.seen}" for each in found] == said
    assert all("team@example.com" in each.advice for each in found if each.verdict != "ok")
    assert queues(WANTED) == [LOST, MISSED, DEAD, MAIN]


def test_a_service_that_was_not_applied_or_may_not_be_seen_is_told():
    assert [each.seen for each in examine({MAIN: None}, WANTED)] == ["a has no queue"]
    assert [each.seen for each in examine({}, WANTED)] == ["a: this broker user may not read its queue"]


def test_mistakes_in_files_are_errors(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("version: 1\nservices: [{name: a, on: nothing}]")
    settings = Settings.model_validate({"services": {"folder": str(tmp_path)}})

    wrong, wanted = read(settings)

    assert ([each.verdict for each in wrong], wanted) == (["error"], {})
