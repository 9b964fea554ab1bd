"""The life of alerts, whatever the order in which observations arrive, and whatever is killed in between."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.alerts.life.lifecycle import as_base, base_lives, fold
from consumers.alerts.life.observations import Observation
from consumers.alerts.life.policy import Policy
from consumers.alerts.life.subject import MOST, Subject
from consumers.alerts.life.surroundings import Surroundings
from consumers.alerts.life.unit_of_work import Times, UnitOfWork
from router.model.ids import id_at
from tests.alerting import CATALOGUES

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICIES = [
    Policy(),
    Policy(closes_after=timedelta(minutes=20)),
    Policy(flapping_openings=3, flapping_within=timedelta(minutes=30), flapping_quiet=timedelta(minutes=15)),
    Policy(
        closes_after=timedelta(minutes=25),
        flapping_openings=2,
        flapping_within=timedelta(hours=1),
        flapping_quiet=timedelta(minutes=5),
    ),
]


def observation(kind, minute, number=0, **fields):
    at = NOON + minute * MINUTE
    return Observation(id=id_at(at, f"{kind} {minute} {number}"), at=at, kind=kind, event_node="n1", **fields)


class World:
    """What is kept of one key from one transaction to the next, and what was published."""

    def __init__(self, policy):
        self.policy = policy
        self.base, self.observations, self.rows, self.open = "", {}, {}, None
        self.quiet = (None, None)
        self.published = {}

    def subject(self):
        at, due = self.quiet
        return Subject(
            "k",
            "rule",
            "prod",
            (),
            self.policy,
            base=self.base,
            quiet_at=at,
            quiet_due=due,
            observations=self.observations.values(),
            row=self.open,
        )

    def work(self, *observed, killed=False):
        """Do one transaction; nothing of it is kept if the engine is *killed* before its end."""
        subject = self.subject()
        unit = UnitOfWork(Times(NOON, 0), {"k": subject}, Surroundings({}))
        for each in observed:
            unit.observe("k", each)
        subject.compact()
        if killed:
            return
        for (_, id_), each in unit.observations.items():
            self.observations[id_] = each
        for id_ in subject.dropped:
            self.observations.pop(id_, None)
        self.base, self.open = subject.base, subject.row
        self.quiet = (subject.quiet_at, subject.quiet_due)
        self.rows.update(unit.rows)
        for each in unit.changes:
            assert each.id not in self.published
            self.published[each.id] = each
            if not each.why:
                assert json.loads(each.event(CATALOGUES).to_json())["data"]["change"] == each.row.change


def state(lives):
    """What matters of the last life: whether it is open, since when, how often it opened, who has it, how it ended."""
    life = lives.lives[-1] if lives.lives else None
    if life is None:
        return None
    return (life.until is None, life.since, life.openings if life.until is None else None, life.acknowledged)


def told(world):
    row = world.open
    return None if row is None else (True, row.since, row.openings, row.state == "acknowledged")


kinds = st.sampled_from(["opens", "opens", "opens", "closes", "closes", "passes", "ack", "unack", "note", "close"])
sequences = st.lists(st.tuples(kinds, st.integers(0, 24 * 60)), min_size=1, max_size=25)


@pytest.mark.thorough
@settings(max_examples=400, deadline=None)
@given(sequences, st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_whatever_the_order_of_arrival_the_end_is_that_of_the_order_of_capture(sequence, policy, random):
    observed = [observation(kind, minute, number) for number, (kind, minute) in enumerate(sequence)]
    wanted = fold(sorted(observed, key=lambda each: each.order), policy)
    arrivals = [*observed, *random.choices(observed, k=len(observed) // 2)]
    random.shuffle(arrivals)
    world = World(policy)

    while arrivals:
        batch = [arrivals.pop() for _ in range(min(len(arrivals), random.randint(1, 4)))]
        if random.random() < 0.3:
            world.work(*batch, killed=True)
        world.work(*batch)

    opened = wanted.open
    assert told(world) == (state(wanted) if opened else None)
    assert sum(row.state != "closed" for row in world.rows.values()) == (opened is not None)
    by_alert = {}
    for each in world.published.values():
        by_alert.setdefault(each.row.id, []).append(each)
    for changes in by_alert.values():
        # From 1 without a gap, and nothing follows its end.
        assert [each.row.change for each in changes] == [*range(1, len(changes) + 1)]
        names = [each.name for each in changes if not each.why]
        assert names.count("alertOpened") <= 1
        assert "alertClosed" not in names[:-1]
        assert names.count("alertFlapping") <= 1


def simple(observed, closes_after):
    """The end of *observed*, told in another way, without flapping: since when it is open, or None."""
    since = last = None
    for each in observed:
        if since and closes_after and each.at >= last + closes_after:
            since = None
        if each.kind == "opens":
            since, last = since or each.at, each.at
        elif each.kind in ("closes", "close"):
            since = None
    return since


@pytest.mark.thorough
@settings(max_examples=300, deadline=None)
@given(sequences, st.sampled_from([None, timedelta(minutes=20), timedelta(hours=5)]))
def test_an_alert_is_open_since_the_first_opening_that_nothing_closed(sequence, closes_after):
    observed = [observation(kind, minute, number) for number, (kind, minute) in enumerate(sequence)]
    observed.sort(key=lambda each: each.order)

    found = fold(observed, Policy(closes_after=closes_after)).open

    assert (found.since if found else None) == simple(observed, closes_after)


def test_what_flaps_stays_open_until_it_was_calm_since_its_last_opening():
    bounces = [observation("opens" if minute % 2 == 0 else "closes", minute) for minute in range(19)]
    flapping = fold(bounces, POLICIES[2])
    assert flapping.open.flapping
    assert flapping.due is None

    flapping.take(observation("closes", 19))
    assert flapping.due == NOON + 34 * MINUTE
    flapping.take(observation("opens", 30))
    assert flapping.due is None
    flapping.take(observation("closes", 31))
    flapping.take(observation("passes", 45))
    assert flapping.open is not None
    flapping.take(observation("passes", 46))
    assert (flapping.open, flapping.lives[-1].until) == (None, NOON + 31 * MINUTE)


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(sequences, st.sampled_from(POLICIES), st.integers(0, 25))
def test_what_is_stored_in_place_of_old_observations_says_the_same(sequence, policy, cut):
    observed = [observation(kind, minute, number) for number, (kind, minute) in enumerate(sequence)]
    observed.sort(key=lambda each: each.order)

    base = as_base(fold(observed[:cut], policy))
    both = fold(observed[cut:], policy, base)

    whole = fold(observed, policy)
    assert state(both) == state(whole) or not both.lives
    assert (both.open and both.open.flapping) == (whole.open and whole.open.flapping)
    assert both.due == whole.due
    assert base_lives(base, policy).latest == (observed[:cut][-1].order if observed[:cut] else None)


@given(st.sampled_from(POLICIES))
def test_policies_are_stored_whole(policy):
    assert Policy.from_json(policy.to_json()) == policy


@pytest.mark.thorough
def test_a_key_that_opens_for_ever_stays_small_and_counts_right():
    world = World(Policy())
    for minute in range(5 * MOST):
        world.work(observation("opens", minute))
    late = observation("closes", 10)

    assert world.open.openings == 5 * MOST
    assert len(world.observations) <= MOST
    world.work(late)
    assert world.open.openings == 5 * MOST
    world.work(observation("closes", 6 * MOST))
    assert world.open is None
    names = [each.name for each in world.published.values()]
    assert names == ["alertOpened", *["alertRepeated"] * 9, "alertClosed"]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["opens", "closes"])
def test_a_key_stays_small_whatever_times_a_node_chooses(kind):
    # One opens at one moment for ever; one reports ends of what flaps, which do not close it.
    world = World(POLICIES[2])
    for minute in range(3):
        world.work(observation("opens", 2 * minute), observation("closes", 2 * minute + 1))
    begun = world.open

    for number in range(3 * MOST):
        world.work(observation(kind, 6, number))

    assert begun.flapping
    assert len(world.observations) <= MOST
    assert world.open.id == begun.id


def test_two_engines_that_both_work_on_an_event_tell_it_once():
    world = World(Policy())
    first, second = observation("opens", 1), observation("closes", 2)

    world.work(first)
    world.work(first, second)
    world.work(second)

    assert [each.name for each in world.published.values()] == ["alertOpened", "alertClosed"]


def test_an_earlier_opening_moves_the_beginning_and_tells_no_other_alert():
    world = World(Policy())

    world.work(observation("opens", 10))
    world.work(observation("opens", 5))

    assert [each.name for each in world.published.values()] == ["alertOpened", "alertRepeated"]
    assert world.open.since == NOON + 5 * MINUTE


def test_an_opening_that_shows_that_it_was_never_quiet_opens_the_alert_again():
    world = World(Policy(closes_after=20 * MINUTE))
    world.work(observation("opens", 0))
    world.work(replace(observation("passes", 20), cause="quiet"))
    assert world.open is None

    world.work(observation("opens", 15))

    assert world.open.since == NOON
    assert [each.name for each in world.published.values()] == ["alertOpened", "alertClosed", "alertOpened"]
