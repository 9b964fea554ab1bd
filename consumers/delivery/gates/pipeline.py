"""All gates, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from ...deliveries import Delivery, Key, Outcome, is_fold, is_unheard
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .approval import ApprovalGate
from .delay import DelayGate
from .fold import FoldGate
from .interface import Answers, Gate, MakeGate
from .limits.at_most import AtMostGate
from .limits.node_limits import BlastRadiusGate
from .limits.stopping import StopGate
from .open_breaker import OpenBreakerGate
from .order import OrderGate
from .rate import RateGate
from .silence import SilenceGate
from .suppression import SuppressionGate

ORDER: Sequence[MakeGate] = (
    # First those that skip.  A fold is silenced when it is delivered: only then are its events complete.
    SuppressionGate.of,
    SilenceGate.of_events,
    DelayGate.of,
    FoldGate.of,
    SilenceGate.of_folds,
    RateGate.of_once_per,
    RateGate.of_limit_that_skips,
    # Then those that may make a delivery wait for long.
    StopGate.of,
    OrderGate.of,
    ApprovalGate.of,
    # Last those that let few pass: what passes them has to be called, or it would use up a place and still wait.
    AtMostGate.of,
    BlastRadiusGate.of,
    OpenBreakerGate.of,
    RateGate.of_limit_that_waits,
    # `only_when` and `only_if` are no gates: the thread that calls the handler checks them right before (`workers`).
)


def gates_of(subscription: Subscription, handler: Handler) -> Sequence[Gate]:
    """Return the gates before *handler*, in their order."""
    return tuple(gate for make in ORDER if (gate := make(subscription, handler)))


class Pipeline:
    """The gates of one subscription."""

    def __init__(self, gates: Sequence[Gate] = ()) -> None:
        """Ask *gates* one after another.

        *asks_all* is False where only folds are asked about: those that are left of a folding that was removed.  That
        is so for most subscriptions, and the others of their deliveries go past the gates.
        """
        self._gates = gates
        self._folds = [each for each in gates if isinstance(each, FoldGate)]
        self.asks_all = any(not isinstance(each, FoldGate) or each.folding for each in gates)

    def asks(self, delivery: Delivery) -> bool:
        """Say whether any gate has to be asked about *delivery*."""
        return self.asks_all or (bool(delivery.replay) and is_fold(delivery.replay))

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Return what the gates make of *due*: a gate is asked only about what those before it let pass.

        What a rate has counted, and a later gate skips, is not counted.
        """
        answers: dict[Key, Outcome | Admitted] = {}
        passing = {each.key: each for each in due}
        counted: list[RateGate] = []
        for gate in self._gates:
            if not passing:
                break
            unheard: list[Admitted] = []
            for key, answer in gate.ask(transaction, [*passing.values()], now).items():
                answers[key] = answer
                if isinstance(answer, Admitted):
                    passing[key] = answer
                    continue
                refused = passing.pop(key)
                if is_unheard(answer):
                    unheard.append(refused)
            for rate in counted:
                rate.take_back(transaction, unheard)
            if isinstance(gate, RateGate):
                counted.append(gate)
        for fold in self._folds:
            fold.close(transaction, due, answers, now)
        return answers
