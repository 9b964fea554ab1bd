"""What becomes of an attempt during which its consumer died.  No store and no broker: only arithmetic.

The attempt counts as failed, and the store keeps with it how often the delivery has seen a consumer die.  A delivery
that has seen this twice is called in a process of its own if its handler can do that; the third time it is given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..deliveries import DeadLetter, Outcome, Retry
from .retry import RetryPolicy

COUNT = "consumer_deaths"
"""Where the result of an attempt has the number."""

SUSPECT, HOPELESS = 2, 3
"""Deaths after which a delivery is called in a process of its own, and after which it is given up."""

_FAILURE = "lost"


def deaths_in(results: Iterable[Mapping[str, object]]) -> int:
    """Return how many consumers died during attempts with these *results*.

    >>> deaths_in([{"consumer_deaths": 1}, {"value": 3}, {"consumer_deaths": 2}])
    2
    """
    counts = (each.get(COUNT) for each in results)
    return max((each for each in counts if isinstance(each, int)), default=0)


def outcome_of(attempt: int, deaths: int, result: Mapping[str, object], policy: RetryPolicy) -> Outcome:
    """Return the outcome of the *attempt*-th attempt, during which the consumer died: of all attempts it saw *deaths*.

    *policy* sets the delay, and may refuse to retry what was lost.  It does not limit the attempts here: the handler
    has not failed yet.

    >>> outcome_of(1, 1, {}, RetryPolicy(attempts=1)).delay
    datetime.timedelta(seconds=5)
    >>> outcome_of(3, 3, {}, RetryPolicy()).reason
    'the consumer died during 3 attempts of this delivery'
    """
    times = "this attempt" if deaths == 1 else f"{deaths} attempts of this delivery"
    reason, result = f"the consumer died during {times}", {**result, COUNT: deaths}
    is_retried = policy.model_copy(update={"attempts": attempt + 1})
    delay = is_retried.delay_after(attempt, _FAILURE)
    if deaths >= HOPELESS or delay is None:
        return DeadLetter(reason, result)
    return Retry(delay, reason, result)
