"""Topics, ingress keys and patterns: the words by which events are routed.  Only text, no broker.

A topic has six words, `<source>.<cluster>.<category>.<event>.<subject>.<node>`; an ingress key has four,
`<source>.<cluster>.<event>.<node>`.  In a pattern `*` stands for one word and `#` for any number of them, as in AMQP.
"""

import re
from dataclasses import dataclass

from ..errors import InvalidTopic

LONGEST = 255
"""Octets of a topic at most: AMQP 0-9-1 writes a routing key as a short string."""

ABSENT = "-"
_NOT_OF_A_WORD = re.compile(r"[^A-Za-z0-9_-]")
_WORD = re.compile(r"[A-Za-z0-9_-]+\Z")
_FOUR_WORDS = re.compile(r"\.".join([r"([A-Za-z0-9_-]{1,100})"] * 4) + r"\Z")
_SIX_WORDS = re.compile(r"\.".join([r"[A-Za-z0-9_-]+"] * 6) + r"\Z")
_LONGEST_SUBJECT = 64
_LONGEST_WORD = 40


def word(text: str | None) -> str:
    """Return *text* as one word of a topic.

    >>> word("/gpfs/fs 1"), word(None), word("")
    ('_gpfs_fs_1', '-', '-')
    """
    return _NOT_OF_A_WORD.sub("_", text) if text else ABSENT


@dataclass(frozen=True, slots=True)
class IngressKey:
    """The words under which a relay publishes a record."""

    source: str
    cluster: str
    event: str
    node: str

    @classmethod
    def parse(cls, text: str) -> "IngressKey":
        """Return the ingress key in *text*.

        Raises InvalidTopic unless *text* has exactly four words of at most 100 characters.

        >>> IngressKey.parse("gpfs.prod.mount.nsd01").node
        'nsd01'
        """
        words = _FOUR_WORDS.match(text)
        if words is None:
            raise InvalidTopic(f"ingress key {text[:LONGEST]!r} is not <source>.<cluster>.<event>.<node>")
        return cls(*words.groups())

    def __str__(self) -> str:
        """Return the key as it is on the wire."""
        return f"{self.source}.{self.cluster}.{self.event}.{self.node}"


def topic(source: str, cluster: str, category: str, event: str, subject: str | None, node: str) -> str:
    """Return the topic of an event.  It has at most 255 octets: long words are cut.

    >>> topic("gpfs", "prod", "quota", "softQuotaExceeded", "gpfs1", "nsd01")
    'gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01'
    >>> topic("gpfs", "prod", "node", "quorumLoss", None, "nsd01")
    'gpfs.prod.node.quorumLoss.-.nsd01'
    """
    text = f"{source}.{cluster}.{category}.{event}.{subject or ABSENT}.{node}"
    if len(text) <= LONGEST and _SIX_WORDS.match(text):
        return text  # the usual case, in a fifth of the time
    words = [word(each) for each in (source, cluster, category, event, subject, node)]
    text = ".".join(words)
    if len(text) > LONGEST:
        limits = (_LONGEST_WORD,) * 4 + (_LONGEST_SUBJECT - 1, _LONGEST_WORD - 14)
        text = ".".join(each[:limit] for each, limit in zip(words, limits, strict=True))
    return text


def check_pattern(text: str) -> str:
    """Return *text*, a pattern of at most six words.  Raises InvalidTopic for anything else.

    >>> check_pattern("gpfs.*.quota.#")
    'gpfs.*.quota.#'
    """
    words = text.split(".")
    for each in words:
        if each not in {"*", "#"} and not _WORD.match(each):
            raise InvalidTopic(f"pattern {text!r}: {each!r} is not a word, * or #")
    if sum(each != "#" for each in words) > 6:  # noqa: PLR2004 - a topic has six words
        raise InvalidTopic(f"pattern {text!r} can never match: a topic has six words")
    if len(text) > LONGEST:
        raise InvalidTopic(f"pattern {text[:40]!r}... is longer than {LONGEST} octets")
    return text


def matches(pattern: str, topic: str) -> bool:
    """Say whether the broker routes *topic* to a binding of *pattern*.

    >>> matches("gpfs.*.quota.#", "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01")
    True
    >>> matches("gpfs.*.quota", "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01")
    False
    """
    words = topic.split(".")
    reached = {0}
    for each in pattern.split("."):
        if each == "#":
            reached = set(range(min(reached, default=len(words) + 1), len(words) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(words) and each in ("*", words[at])}
    return len(words) in reached
