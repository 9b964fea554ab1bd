"""Checks of retry policies: the failures that they name, and the subscription that receives the event after them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.errors import did_you_mean

from ..config.event_samples import Remark
from ..errors import Mistake
from ..policies.retry import kind_of
from ..verbs.interface import Verb


@dataclass(frozen=True, slots=True)
class Follow:
    """The subscription *name* has the `then` *following*; *file* and *line* are where it is written."""

    name: str
    following: str
    file: str
    line: int


def check(follows: Sequence[Follow], names: Collection[str]) -> Iterator[Mistake]:
    """Yield the mistakes in each `then`: none of *names*, or a circle, which would never end."""
    followers = {each.name: each.following for each in follows}
    for each in follows:
        if each.following not in names:
            hint = did_you_mean(each.following, names) or "; write the name of a subscription in these files"
            yield _mistake(each, f"no subscription {each.following!r}{hint}")
        elif each.name in (circle := _followed(each.name, followers)):
            yield _mistake(each, f"leads back to itself through {' then '.join(circle)}")


def failures(raw: Mapping[str, object], kind: str, verb: Verb) -> Iterator[Remark]:
    """Yield a mistake for each failure in the `retry` of the entry *raw* that its *verb*, the *kind*, never has."""
    retry, known = raw.get("retry"), verb.failures
    if not isinstance(retry, dict) or known is None:
        return
    for name in ("never_for", "only_for"):
        words = retry.get(name)
        for at, each in enumerate(words if isinstance(words, list) else ()):
            if isinstance(each, str) and (word := kind_of(each)) and word not in known:
                those = f"it fails with {', '.join(sorted(known))}, or" if known else "it fails with"
                message = f"this {kind} never fails with {each}: {those} the name of an exception such as OSError"
                yield Remark(("retry", name, at), message)


def _followed(name: str, followers: dict[str, str]) -> list[str]:
    """Return the subscriptions that follow *name* by `then`, in order, up to the first repetition."""
    found: list[str] = []
    while (following := followers.get(name)) and following not in found:
        found.append(following)
        name = following
    return found


def _mistake(follow: Follow, message: str) -> Mistake:
    return Mistake(follow.file, follow.line, follow.name, "retry.then", message)
