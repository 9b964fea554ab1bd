"""Everything that Python callbacks raise on purpose.

CallbackError
├── UnknownKeyword   a keyword that there is not; also a TypeError, as Python has it
├── Invalid          a callback that can't be: it has every mistake
├── Unwritable       a function that can't be written down for the consumer
├── AlreadyThere     the identifier is taken by another callback
├── NotThere         there is no such callback, node, file system or snapshot; also a KeyError
└── NotDone          GPFS refused a part of it, or our folder can't be written
"""

from collections.abc import Iterable, Sequence

from ..errors import ConsumerError, did_you_mean


class CallbackError(ConsumerError):
    """The root of the family."""


class UnknownKeyword(CallbackError, TypeError):
    """A keyword that there is not."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Name it, and what is near of the *known*, or all of them."""
        listed = sorted(set(known))
        hint = did_you_mean(name, listed) or f"; there are {', '.join(listed)}"
        super().__init__(f"unknown keyword {name!r}{hint}")


class Invalid(CallbackError):
    """A callback that can't be; `mistakes` has every one of them."""

    def __init__(self, identifier: str, mistakes: Sequence[str]) -> None:
        """Tell all *mistakes*, one a line."""
        self.mistakes = tuple(mistakes)
        who = identifier or "callback"
        super().__init__("\n".join(f"{who}: {each}" for each in mistakes))


class Unwritable(CallbackError):
    """A function that can't be written down for the consumer."""


class AlreadyThere(CallbackError):
    """The identifier is taken by another callback."""


class NotThere(CallbackError, KeyError):
    """There is no such callback, node, file system or snapshot."""

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        """Name it, and what is near of the *known*."""
        self.message = f"there is no {what} {name!r}{did_you_mean(name, known)}"
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message, which a KeyError would put in quotes."""
        return self.message


class NotDone(CallbackError):
    """GPFS refused a part of it, or our folder can't be written."""
