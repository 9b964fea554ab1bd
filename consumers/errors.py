"""Everything the consumers raise on purpose.

ConsumerError
├── SubscriptionsError   the subscriptions are invalid: it lists every mistake with its place
├── FilterError          a filter is not valid CEL, or uses CEL that is not supported
├── StoreError           the store cannot be read or written: trying again may help
├── JobsUnusable         the folder of jobs cannot be read
├── AlertNotFound        no alert, or several, are meant by an id
├── AlertIsClosed        an alert is over: nobody can acknowledge or close it
├── AlertNotSeen         an alert of the demo did not open or close in time
├── LetterError          a dead letter does not exist, has expired, or cannot be replayed
├── SyntheticEventError        a test event cannot be built from these values
├── ManualRunError       an action cannot be run by hand with these values
└── Rejected             a handler rejects a delivery: it becomes a dead letter at once, without a retry
    ├── TemplateError    a template is invalid, or cannot be rendered from this event
    └── SecretError      a secret does not exist where its reference points, or cannot be read
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

from router.errors import did_you_mean
from router.model import durations
from router.terminal_text import brief


class ConsumerError(Exception):
    """The root of the family."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a file, and where.  *line* 0 means the whole file; an empty *entry* or *field* names none.

    >>> print(Mistake("subscriptions.yaml", 12, "quota-mail", "retry.frist", "unknown key; did you mean first?"))
    subscriptions.yaml:12: quota-mail: retry.frist: unknown key; did you mean first?
    """

    file: str
    line: int
    entry: str
    field: str
    message: str

    def __post_init__(self) -> None:
        """Shorten what quotes a long value or key."""
        object.__setattr__(self, "field", brief(self.field))
        object.__setattr__(self, "message", brief(self.message))

    def __str__(self) -> str:
        """Return the mistake as one line of text."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(each for each in (place, self.entry, self.field, self.message) if each)


class SubscriptionsError(ConsumerError):
    """The subscriptions are invalid; `mistakes` lists every mistake, in the order of the files."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        """Build the message from all *mistakes*, one per line."""
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(each) for each in mistakes))


class FilterError(ConsumerError):
    """A filter is not valid CEL, or uses CEL that is not supported."""


class StoreError(ConsumerError):
    """The store cannot be read or written: trying again may help."""


class JobsUnusable(ConsumerError):
    """The folder of jobs cannot be read."""


class AlertNotFound(ConsumerError):
    """No alert has this id, or several begin so; `near` has the ids of those that may be meant."""

    def __init__(self, wanted: str, near: Sequence[str], *, is_ambiguous: bool = False) -> None:
        """Say what was *wanted*; all of *near* begin so if it *is_ambiguous*."""
        if is_ambiguous:
            self.near = tuple(near)
            text = f"several alerts begin with {wanted}: {', '.join(self.near)}; write more of the id"
        else:
            self.near = tuple(get_close_matches(wanted.upper(), near, n=3, cutoff=0.4))
            text = f"there is no alert {wanted or 'with an empty id'}{did_you_mean(wanted.upper(), near)}"
        super().__init__(text)


class AlertIsClosed(ConsumerError):
    """An alert is over: nobody can acknowledge or close it."""


class AlertNotSeen(ConsumerError):
    """An alert of the demo did not open or close in time."""

    def __init__(self, rule: str, states: Sequence[str], limit: timedelta) -> None:
        """No, or too few, alerts of *rule* are in one of *states* after *limit*."""
        super().__init__(f"no alert {rule} is {' or '.join(states)} after {durations.text(limit)}")


class LetterError(ConsumerError):
    """A dead letter does not exist, has expired, or cannot be replayed."""


class SyntheticEventError(ConsumerError):
    """A test event cannot be built from these values."""


class ManualRunError(ConsumerError):
    """An action cannot be run by hand with these values."""


class Rejected(ConsumerError):
    """A handler rejects a delivery: it is dead-lettered at once, with this reason and the *result* so far."""

    def __init__(self, reason: str = "", result: Mapping[str, object] | None = None) -> None:
        """Keep *result* with the delivery: for example the response, or who was notified nevertheless."""
        self.result: Mapping[str, object] = result or {}
        super().__init__(reason)


class TemplateError(Rejected):
    """A template is invalid, or cannot be rendered from this event.  Another attempt would fail in the same way."""


class SecretError(Rejected):
    """A secret does not exist where its reference points, or cannot be read.  Only an administrator can fix that."""


def without_event(text: str) -> str:
    """Return the end of a message about the unknown name `event` in the expression *text*.

    >>> without_event('event.data.fsName == "gpfs1"')
    '; write data.fsName, without event'
    """
    found = re.search(r"\bevent\.([\w.]+)", text)
    return f"; write {found[1] if found else 'type, data.fsName and so on'}, without event"
