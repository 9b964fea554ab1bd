"""How many items a filter walks through for one event: nested loops over lists multiply, and one record could stop all.

Nothing here evaluates an expression; lengths are read from the event before that.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.model.events import Event

from ..fact_paths import TooMany

MOST_STEPS = 250_000
"""Most items that one evaluation may walk through; measured to take 0.2 s."""

_BUILT = 4
"""Building a list takes the square of its length, in steps that are so many times as quick as others."""


def check(looks: Sequence[tuple[str, int]], builds: int, event: Event) -> None:
    """Raise TooMany if evaluating an expression for *event* takes too many steps.

    *looks* are its accesses to `data`: the variable, and how many loops repeat the access.  *builds* says how many
    lists it makes with `map` and `filter`.
    """
    lists = {name: len(value) for name, value in event.data.items() if isinstance(value, list)}
    longest = max(lists.values(), default=0)
    if not longest:
        return
    # What is not a plain name may be any variable.
    steps = sum(lists.get(name, 1 if name in event.data else longest) * longest**depth for name, depth in looks)
    steps += builds * longest**2 // _BUILT
    if steps > MOST_STEPS:
        largest = max(lists, key=lists.__getitem__)
        raise TooMany(
            f"it would walk through up to {steps} items of lists, and the limit is {MOST_STEPS}:"
            f" data.{largest} has {longest} items"
        )
