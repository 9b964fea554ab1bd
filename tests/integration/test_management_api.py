"""The management API, where the broker is busy with a change of its own."""

import json
from datetime import timedelta

import pytest

from router.broker.users.management_api import Management
from router.errors import Refused
from tests.webhooks import answering, webhook


@pytest.fixture
def served(tmp_path):
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    password.chmod(0o600)
    with webhook() as server:
        yield server, Management(f"http://admin@{server.address}", password, timedelta(seconds=30))


def test_a_list_that_changes_while_it_is_made_is_asked_for_again(served):
    server, management = served
    answers = [answering(200, json.dumps({"users": []}).encode()), answering(503), answering(500)]

    def behave(request):
        answers.pop()(request)

    server.behave = behave

    assert management.definitions() == {"users": []}
    assert [each.method for each in server.received] == ["GET"] * 3


def test_a_broker_that_keeps_failing_is_told_with_its_answer(served):
    server, management = served
    server.behave = answering(500, b"no disk")

    with pytest.raises(Refused, match=r"GET definitions at .*: HTTP 500: no disk"):
        management.definitions()


def test_a_change_is_sent_once(served):
    server, management = served
    server.behave = answering(500)

    with pytest.raises(Refused, match=r"POST definitions at .*: HTTP 500"):
        management.add({"users": []})
    assert len(server.received) == 1
