"""Everything the consumers raise on purpose.

ConsumerError
├── SubscriptionsError   the subscriptions cannot be used: it has every mistake, with its place
├── FilterError          a filter is no CEL, or none that we evaluate
├── StoreError           the store cannot be read or written: trying again may help
├── LetterError          a letter is not there, not kept any more, or cannot be replayed
├── OccasionError        an event cannot be made up: no such event type or variable, or a value that is none
└── Rejected             a handler gives a delivery up: a dead letter at once, without a retry
    ├── TemplateError    a template cannot be read, or not be filled in from this event
    └── SecretError      a secret is not where its reference says, or not readable
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class ConsumerError(Exception):
    """The root of the family."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a file, and where: *line* 0 is the file as a whole, an empty *entry* or *field* none of them.

    >>> print(Mistake("subscriptions.yaml", 12, "quota-mail", "retry.frist", "unknown key; did you mean first?"))
    subscriptions.yaml:12: quota-mail: retry.frist: unknown key; did you mean first?
    """

    file: str
    line: int
    entry: str
    field: str
    message: str

    def __str__(self) -> str:
        """Return one line for people."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(each for each in (place, self.entry, self.field, self.message) if each)


class SubscriptionsError(ConsumerError):
    """The subscriptions cannot be used; `mistakes` has every one of them, in the order of the files."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        """Tell all *mistakes*, one a line."""
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(each) for each in mistakes))


class FilterError(ConsumerError):
    """A filter is no CEL, or none that we evaluate."""


class StoreError(ConsumerError):
    """The store cannot be read or written: trying again may help."""


class LetterError(ConsumerError):
    """A letter is not there, not kept any more, or cannot be replayed."""


class OccasionError(ConsumerError):
    """An event cannot be made up: there is no such event type or variable, or a value is none."""


class Rejected(ConsumerError):
    """A handler gives a delivery up: it is dead-lettered at once, with this reason, and the *result* so far."""

    def __init__(self, reason: str = "", result: Mapping[str, object] | None = None) -> None:
        """Keep *result* with the delivery: what was answered, who was told all the same."""
        self.result: Mapping[str, object] = result or {}
        super().__init__(reason)


class TemplateError(Rejected):
    """A template cannot be read, or not be filled in from this event: another attempt would end the same."""


class SecretError(Rejected):
    """A secret is not where its reference says, or not readable: that takes somebody to mend it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown *name*: what is near it, or nothing.

    >>> did_you_mean("frist", ["attempts", "first"])
    '; did you mean first?'
    """
    by_lower = {each.lower(): each for each in sorted(known)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=2)
    return f"; did you mean {' or '.join(by_lower[each] for each in near)}?" if near else ""
