"""Which subscription takes over from which when a delivery is given up: `then` in their retry policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .errors import Mistake, did_you_mean
from .subscriptions import Subscription


def check(subscriptions: Sequence[Subscription]) -> Iterator[Mistake]:
    """Yield what is wrong with each `then`: nobody of that name, or a circle, in which nothing is ever given up."""
    followers = {each.name: each.retry.then for each in subscriptions if each.retry.then}
    names = [each.name for each in subscriptions]
    for each in subscriptions:
        if each.retry.then is None:
            continue
        if each.retry.then not in names:
            hint = did_you_mean(each.retry.then, names) or "; a name of these files is meant"
            yield _mistake(each, f"no subscription {each.retry.then!r}{hint}")
        elif each.name in (circle := _followed(each.name, followers)):
            yield _mistake(each, f"leads back to itself, by {' then '.join(circle)}")


def _followed(name: str, followers: dict[str, str]) -> list[str]:
    """Return who follows *name*, one after another, up to the first that is there twice."""
    found: list[str] = []
    while (following := followers.get(name)) and following not in found:
        found.append(following)
        name = following
    return found


def _mistake(subscription: Subscription, message: str) -> Mistake:
    return Mistake(subscription.file, subscription.line, subscription.name, "retry.then", message)
