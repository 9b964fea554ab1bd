"""The order of gates, and how they are asked one after another."""

from datetime import timedelta
from pathlib import Path

import pytest

from consumers.deliveries import FOLDED, Delivery, Skipped
from consumers.delivery.gates.approval import ApprovalGate
from consumers.delivery.gates.delay import DelayGate
from consumers.delivery.gates.fold import FoldGate
from consumers.delivery.gates.limits.at_most import AtMostGate
from consumers.delivery.gates.limits.node_limits import BlastRadiusGate
from consumers.delivery.gates.limits.stopping import StopGate
from consumers.delivery.gates.open_breaker import OpenBreakerGate
from consumers.delivery.gates.order import OrderGate
from consumers.delivery.gates.pipeline import ORDER, Pipeline, gates_of
from consumers.delivery.gates.rate import RateGate
from consumers.delivery.gates.silence import SilenceGate
from consumers.delivery.gates.suppression import SuppressionGate
from consumers.delivery.states import Arrived
from consumers.folds import Fold
from consumers.policies.guards import Ask, BlastRadius, Guard
from consumers.policies.schedules.delays import Delay
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.verbs.interface import Handler
from consumers.verbs.notify.verb import NotifyVerb
from tests.consuming import make_event, make_subscription
from tests.engines import START, Recorded, TellVerb, subscription

ARCHITECTURE = Path(__file__).parents[5] / "ARCHITECTURE.md"
HOUR = timedelta(hours=1)
HANDLER = Handler()
ROWS = {
    SuppressionGate.of: "suppression",
    SilenceGate.of_events: "silence",
    DelayGate.of: "`delay`",
    FoldGate.of: "fold",
    SilenceGate.of_folds: "silence",
    RateGate.of_once_per: "`once_per`, `limit` that skips",
    RateGate.of_limit_that_skips: "`once_per`, `limit` that skips",
    StopGate.of: "`stop_after`",
    OrderGate.of: "`order_by`",
    ApprovalGate.of: "`ask`",
    AtMostGate.of: "`at_most`",
    BlastRadiusGate.of: "`blast_radius`, `first`",
    OpenBreakerGate.of: "breaker",
    RateGate.of_limit_that_waits: "`limit` that waits",
}


def test_the_list_of_gates_has_the_order_of_the_architectures_table():
    table = ARCHITECTURE.read_text().partition("| gate | asked of |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]

    # The last row is checked by the thread that calls the handler.
    assert [*dict.fromkeys(ROWS[make] for make in ORDER), "`only_when`, `only_if`"] == rows
    assert set(ORDER) == set(ROWS)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (RateGate.of_once_per, {"once_per": OncePer(interval=HOUR)}),
        (RateGate.of_limit_that_skips, {"limit": Limit(most=1, per=HOUR, rest="skip")}),
        (RateGate.of_limit_that_waits, {"limit": Limit(most=1, per=HOUR)}),
        (OrderGate.of, {"order_by": ("node",)}),
        (ApprovalGate.of, {"guard": Guard(ask=Ask())}),
        (AtMostGate.of, {"guard": Guard(at_most=1)}),
        (BlastRadiusGate.of, {"guard": Guard(blast_radius=BlastRadius(nodes=2, within=HOUR))}),
        (BlastRadiusGate.of, {"guard": Guard(first=1)}),
        (StopGate.of, {"guard": Guard(stop_after=5)}),
        (SilenceGate.of_events, {"verb": TellVerb()}),
        (SilenceGate.of_folds, {"verb": TellVerb()}),
        (SuppressionGate.of, {"verb": NotifyVerb(to=("a",))}),
        (DelayGate.of, {"delay": Delay(wait=HOUR)}),
    ],
)
def test_a_gate_is_made_for_what_asks_for_it_alone(make, fields):
    assert make(make_subscription("s", **{"verb": ["/bin/true"], **fields}), HANDLER)
    assert make(make_subscription("s", ["/bin/true"]), HANDLER) is None


def test_a_breaker_is_before_handlers_that_have_targets():
    assert OpenBreakerGate.of(subscription(), Recorded(lambda _delivery: None))
    assert OpenBreakerGate.of(subscription(), HANDLER) is None


def test_nobody_is_asked_for_an_approval_in_shadow():
    assert ApprovalGate.of(subscription(guard=Guard(ask=Ask()), mode="shadow"), HANDLER) is None


def test_where_nothing_is_configured_only_what_is_left_of_a_fold_is_asked_about():
    plain = Pipeline(gates_of(make_subscription("s", ["/bin/true"]), HANDLER))
    folding = Pipeline(gates_of(make_subscription("s", ["/bin/true"], fold=Folding()), HANDLER))
    event, fold = (Delivery(make_event(), "s", "t", b"", replay=replay) for replay in ("", FOLDED))

    assert (plain.asks(event), plain.asks(fold)) == (False, True)
    assert (folding.asks(event), folding.asks(fold)) == (True, True)
    assert not Pipeline().asks(event)


class Answering:
    """A gate that says what the test wants."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def ask(self, _transaction, due, _now):
        self.asked.append([*due])
        return {each.key: answer for each in due if (answer := self.answer(each))}


def test_a_gate_is_asked_about_what_those_before_it_let_pass_as_they_changed_it():
    first, second = (Arrived(Delivery(make_event(), "s", "t", b"")).admit_as_new("") for _ in range(2))
    fold = Fold(2, "n[1-2]", "", "")
    refusing = Answering(lambda each: Skipped("silenced") if each is first else None)
    changing, last = Answering(lambda each: each.with_fold(fold)), Answering(lambda _: None)

    answers = Pipeline([refusing, changing, last]).ask(None, [first, second], START)

    assert refusing.asked == [[first, second]]
    assert changing.asked == [[second]]
    assert last.asked == [[second.with_fold(fold)]]
    assert answers == {first.key: Skipped("silenced"), second.key: second.with_fold(fold)}


def test_no_gate_is_asked_when_nothing_is_left():
    refusing, never = Answering(lambda _: Skipped("silenced")), Answering(lambda _: None)

    Pipeline([refusing, never]).ask(None, [Arrived(Delivery(make_event(), "s", "t", b"")).admit_as_new("")], START)

    assert never.asked == []
