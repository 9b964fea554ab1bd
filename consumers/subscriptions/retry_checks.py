"""Checks of retry policies: the failures that they name, and the subscription that receives the event after them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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


def check(follows: Sequence[Follow], names: Collection[str], off: Collection[str] = ()) -> Iterator[Mistake]:
    """Yield the mistakes in each `then`: none of *names*, one of *off*, or a circle, which would never end."""
    followers = {each.name: each.following for each in follows}
    for each in follows:
        if each.following not in names:
            hint = did_you_mean(each.following, names) or "; write the name of a subscription in these files"
            yield _mistake(each, f"no subscription {each.following!r}{hint}")
        elif each.following in off:
            yield _mistake(each, f"{each.following} has `mode: off`, so it handles nothing: name another")
        elif each.name in (circle := _followed(each.name, followers)):
            yield _mistake(each, f"leads back to itself through {' then '.join(circle)}")


def failures(raw: Mapping[str, object], kind: str, verb: Verb) -> Iterator[Remark]:
    """Yield a mistake for each failure in the `retry` of the entry *raw* that its *verb*, the *kind*, never has."""
    known = verb.failures
    if known is None:
        return
    for place, each in _failures(raw):
        if kind_of(each) not in known:
            those = f"it fails with {', '.join(sorted(known))}, or" if known else "it fails with"
            message = f"this {kind} never fails with {each}: {those} the name of an exception such as OSError"
            yield Remark(place, message)


def default_failures(defaults: object, entries: Iterable[tuple[Mapping[str, object], Verb | None]]) -> Iterator[Remark]:
    """Yield a mistake for each failure in the `retry` of *defaults* that no subscription of their file ever has.

    *entries* are those subscriptions, each with its verb, or None if that has mistakes.  One that has none of the only
    failures that are retried gets a warning.
    """
    every, retry = list(entries), defaults.get("retry") if isinstance(defaults, dict) else None
    for name in ("never_for", "only_for"):
        heirs = [each for each in every if not isinstance(own := each[0].get("retry"), dict) or name not in own]
        known = [(raw.get("name"), None if verb is None else verb.failures) for raw, verb in heirs]
        words = [*_failures({"retry": {name: retry.get(name)}})] if isinstance(retry, dict) else []
        for place, each in words:
            if known and all(those is not None and kind_of(each) not in those for _, those in known):
                yield Remark(place, f"none of the subscriptions that this applies to ever fails with {each}: remove it")
        # Exceptions, which any may have, are no such words.
        if name == "only_for" and words and isinstance(retry, dict) and len(words) == len(retry[name]):
            kinds = {kind_of(each) for _, each in words}
            for subscription, those in known:
                if those is not None and kinds.isdisjoint(those):
                    message = f"{subscription} fails with none of these, so it is never retried: give it its own retry"
                    yield Remark(("retry", name), message, warning=True)


def _failures(raw: Mapping[str, object]) -> Iterator[tuple[tuple[str, str, int], str]]:
    """Yield each failure that the `retry` in *raw* names, with its place, but no names of exceptions."""
    retry = raw.get("retry")
    for name in ("never_for", "only_for"):
        words = retry.get(name) if isinstance(retry, dict) else None
        for at, each in enumerate(words if isinstance(words, list) else ()):
            if isinstance(each, str) and kind_of(each):
                yield ("retry", name, at), each


def _followed(name: str, followers: dict[str, str]) -> list[str]:
    """Return the subscriptions that follow *name* by `then`, in order, up to the first repetition."""
    found: list[str] = []
    while (following := followers.get(name)) and following not in found:
        found.append(following)
        name = following
    return found


def _mistake(follow: Follow, message: str) -> Mistake:
    return Mistake(follow.file, follow.line, follow.name, "retry.then", message)
