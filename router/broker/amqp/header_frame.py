"""How long the header frame of a message is, which the broker takes only up to a bound."""

from ..interface import Message

_PROPERTIES = 2048
"""Octets of a header frame without headers, at most: seven properties of up to 256, and what is around them."""

_OF_HEADER = 6
"""Octets of a header beside its name and its text."""

_OF_NUMBER = 8


def header_octets(message: Message) -> int:
    """Return how many octets the header frame of *message* has at most.

    >>> header_octets(Message("", "", b"", "", headers={"reason": "x" * 100}))
    2160
    """
    texts = 0
    for name, value in message.headers.items():
        texts += len(name.encode("utf-8", "surrogatepass")) + _OF_HEADER
        texts += len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else _OF_NUMBER
    return _PROPERTIES + texts
