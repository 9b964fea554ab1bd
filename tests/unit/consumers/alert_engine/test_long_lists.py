"""Events that list very many nodes: a bounded number of alerts, each transaction a bounded part of them."""

import pytest

from consumers.alert_engine.transactions import MOST_SEEN
from consumers.alerts.sightings import MOST_OPENED
from consumers.store.alerts import subjects
from tests.alerting import NODE_DOWN, SECOND, AlertBench, make_event


def leaving(site, number):
    return make_event("nodeLeave", site.now, node=[f"n{each}" for each in range(number)])


@pytest.mark.thorough
def test_one_event_opens_a_bounded_number_of_alerts_and_the_last_says_how_many_are_left_out(database, caplog):
    site = AlertBench(database("store"), NODE_DOWN)

    site.send(leaving(site, MOST_OPENED + 1234))

    opened = site.alerts()
    assert len(opened) == MOST_OPENED
    noted = [each.summary for each in opened if "more in this event" in each.summary]
    assert len(noted) == 1
    assert noted[0].endswith("(and 1,234 more in this event, without alerts of their own)")
    assert site.engine.counts.left_out == 1234
    (line,) = [each for each in caplog.records if "too many alerts" in each.message]
    assert (line.left_out, line.first[0]) == (1234, f"eventNode n{MOST_OPENED}")
    site.store.close()


@pytest.mark.thorough
def test_a_batch_of_long_lists_is_several_transactions(database, monkeypatch):
    site = AlertBench(database("store"), NODE_DOWN)
    taken = []
    read = subjects.read

    def noting(transaction, wanted, *args, **more):
        taken.append(len({*wanted}))
        return read(transaction, wanted, *args, **more)

    monkeypatch.setattr(subjects, "read", noting)

    site.send(*(leaving(site, 250) for _ in range(4)))
    opened = [each.openings for each in site.alerts()]
    site.advance(SECOND)
    joined = [f"n{each}" for each in range(1000)]
    site.send(make_event("nodeJoin", site.now, node=joined))

    assert max(taken) <= MOST_SEEN
    assert opened == [4] * 250
    assert {each.state for each in site.alerts()} == {"closed"}
    site.store.close()
