"""Everything that Python callbacks raise on purpose.

CallbackError
├── UnknownKeyword   a keyword does not exist; also a TypeError
├── Invalid          a callback is invalid; it lists every mistake
├── Unwritable       a function cannot be stored for the consumer
├── AlreadyThere     another callback has the identifier
├── NotThere         a callback, node, file system or snapshot does not exist; also a KeyError
│   └── SeveralThere several nodes have the name
└── NotDone          GPFS refused a part of the change, or the folder of callbacks cannot be written
"""

from collections.abc import Iterable, Sequence

from router.errors import did_you_mean

from ..errors import ConsumerError


class CallbackError(ConsumerError):
    """The root of the family."""


class UnknownKeyword(CallbackError, TypeError):
    """A keyword does not exist."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Report *name* with the most similar of the *known* names, or all of them."""
        listed = sorted(set(known))
        hint = did_you_mean(name, listed) or f"; known keywords are {', '.join(listed)}"
        super().__init__(f"unknown keyword {name!r}{hint}")


class Invalid(CallbackError):
    """A callback is invalid; `mistakes` lists every mistake."""

    def __init__(self, identifier: str, mistakes: Sequence[str]) -> None:
        """Build the message from all *mistakes*, one per line."""
        self.mistakes = tuple(mistakes)
        who = identifier or "callback"
        super().__init__("\n".join(f"{who}: {each}" for each in mistakes))


class Unwritable(CallbackError):
    """A function cannot be stored for the consumer."""


class AlreadyThere(CallbackError):
    """Another callback has the identifier."""


class NotThere(CallbackError, KeyError):
    """A callback, node, file system or snapshot does not exist."""

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        """Report *name* with the most similar of the *known* names."""
        self.message = f"there is no {what} {name!r}{did_you_mean(name, known)}"
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message without the quotes that KeyError adds."""
        return self.message


class SeveralThere(NotThere):
    """Several nodes have the name."""

    def __init__(self, name: str, nodes: Sequence[str]) -> None:
        """Name *nodes*, by their full names."""
        super().__init__("node", name)
        self.message = f"{name!r} is {' and '.join(nodes)}: use a full name"


class NotDone(CallbackError):
    """GPFS refused a part of the change, or the folder of callbacks cannot be written."""


def as_operand(what: str, name: object) -> str:
    """Return *name*, the name of a *what* that becomes a word of a command.

    Raises CallbackError if the command would take it for an option, for several words, or for nothing.
    """
    if not isinstance(name, str) or not name or name.startswith("-") or not name.isprintable() or " " in name:
        raise CallbackError(
            f"{name!r:.80} is not the name of a {what}: no dash at its start, no blank, no control character"
        )
    return name
