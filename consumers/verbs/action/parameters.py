"""The parameters of an action: where each value comes from by default, and which values it takes.  Pure.

Whatever a value contains, it stays a value.  A name has only letters, digits and `_ . + @ -`, and begins with none of
the last four.  A node is a host name, never a group, an operator or a node class of GPFS.  A list has its items apart,
so that no item becomes two.  Anything else is refused, with the reason.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from router.errors import did_you_mean
from router.settings.field_types import matching

from ...config.field_types import Closed, Words
from ...policies.group_keys import Place

Value = str | int | bool | list[str]
"""A value that was checked; a list has texts."""

Type = Literal["name", "names", "node", "nodes", "integer", "size", "path", "text", "choice", "boolean"]

MOST_ITEMS = 1000
"""Most items of a list; a node set may have ten times as many nodes."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,254}")
_OF_NAMES = "use letters, digits and _ . + @ -, beginning with a letter, digit or _"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_CLASSES = re.compile(
    r"all|mount|(non)?(aix|ces|client|cnfs|cnfsdisabled|cnfsenabled|gateway|linux|manager|nsd|quorum|windows)nodes"
    r"|(non)?(client|server)license",
    re.IGNORECASE,
)
"""What mm commands take for a class of nodes, not for a host."""

_NUMBERS = re.compile(r"[0-9]+(-[0-9]+)?")
"""What mm commands take for the number of a node, or for a range of numbers."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SIZE = re.compile(r"[0-9]{1,15}[KMGTPkmgtp]?")
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHOWN = 80

_ONLY_FOR: Final[Mapping[str, tuple[Type, ...]]] = {
    "minimum": ("integer",),
    "maximum": ("integer",),
    "of": ("choice",),
    "below": ("path",),
    "longest": ("text",),
}
"""The keys that belong to some types only."""

LISTS: Final[tuple[Type, ...]] = ("names", "nodes")
NODES: Final[tuple[Type, ...]] = ("node", "nodes")

ParameterName = Annotated[str, matching("[A-Za-z_][A-Za-z0-9_]{0,62}", "is not a name of letters, digits and _")]


class Parameter(Closed):
    """One parameter.  *from* is an attribute or variable of the event, *default* a value for where there is none.

    An *optional* parameter may be absent; templates test it with `if`.  *minimum* and *maximum* bound an integer, *of*
    lists the values of a choice, *below* is the folder that a path must be in, *longest* the most characters of a text.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    type: Type
    """name, names, node, nodes, integer, size, path, text, choice or boolean."""
    purpose: Annotated[str, Field(max_length=200)] = ""
    """What it is, for people."""
    from_: Annotated[Place | None, Field(alias="from")] = None
    default: JsonValue = None
    optional: bool = False
    minimum: int = 0
    maximum: int = 2**53
    of: Annotated[Words, Field(max_length=100)] = ()
    below: Annotated[str, Field(pattern="^(/.*)?$")] = ""
    longest: Annotated[int, Field(ge=1, le=4096)] = 200

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, types in _ONLY_FOR.items():
            if getattr(self, name) != type(self).model_fields[name].default and self.type not in types:
                raise ValueError(f"{name} is a key of parameters of type {' and '.join(types)}: remove it")
        if self.type == "choice" and not self.of:
            raise ValueError("a choice needs its values: write of: [one, other]")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        if self.default is not None:
            try:
                self.read(self.default)
            except ValueError as error:
                raise ValueError(f"default: {error}") from error
        return self

    @property
    def is_required(self) -> bool:
        """Whether somebody has to give a value: no event and no default does."""
        return self.from_ is None and self.default is None and not self.optional

    def read(self, value: object) -> Value:
        """Return *value*, which may come from anybody, as a value of this parameter.

        Raises ValueError with the reason.

        >>> Parameter(type="names").read("nsd1,nsd2")
        ['nsd1', 'nsd2']
        >>> Parameter(type="name").read("-rf")
        Traceback (most recent call last):
        ValueError: '-rf' is not a name: use letters, digits and _ . + @ -, beginning with a letter, digit or _
        """
        return _READERS[self.type](self, value)

    @property
    def samples(self) -> tuple[Value, ...]:
        """Values that it can have, the shortest and others, to try templates with."""
        texts: Mapping[Type, tuple[Value, ...]] = {
            "name": ("sample",),
            "names": (["sample"], ["sample", "other"]),
            "node": ("node1",),
            "nodes": (["node1"], ["node1", "node2"]),
            "integer": (self.minimum, self.maximum),
            "size": ("1G",),
            "path": (f"{self.below.rstrip('/')}/sample",),
            "text": ("sample",),
            "choice": self.of,
            "boolean": (True, False),
        }
        return texts[self.type]


def _name(_: Parameter, value: object) -> str:
    text = _text_of(value)
    if not _NAME.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a name: {_OF_NAMES}")
    return text


def _names(parameter: Parameter, value: object) -> list[str]:
    items = value if isinstance(value, (list, tuple)) else [part.strip() for part in _text_of(value).split(",")]
    if not 0 < len(items) <= MOST_ITEMS:
        raise ValueError(f"has {len(items):,} items: give 1 to {MOST_ITEMS:,}")
    return list(dict.fromkeys(_name(parameter, each) for each in items))


def _node(_: Parameter, value: object) -> str:
    return _host(_text_of(value))


def _nodes(_: Parameter, value: object) -> list[str]:
    # ClusterShell takes longer to import than most commands take.
    from router.cluster.fleet import node_sets  # noqa: PLC0415
    from router.cluster.fleet.errors import InvalidNodeSet  # noqa: PLC0415

    if isinstance(value, (list, tuple)):
        if not 0 < len(value) <= node_sets.MOST:
            raise ValueError(f"has {len(value):,} nodes: give 1 to {node_sets.MOST:,}")
        return list(dict.fromkeys(_host(_text_of(each)) for each in value))
    try:
        return [_host(each) for each in node_sets.names_of(_text_of(value))]
    except InvalidNodeSet as error:
        raise ValueError(str(error).removeprefix("nodes: ")) from error


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a host name")
    if _CLASSES.fullmatch(text):
        raise ValueError(f"{_shown(text)} is a node class of GPFS, not a host name: name the hosts")
    if _NUMBERS.fullmatch(text):
        raise ValueError(f"{_shown(text)} is a number or a range of nodes of GPFS, not a host name: name the hosts")
    return text


def _integer(parameter: Parameter, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not _INTEGER.fullmatch(str(value)):
        raise ValueError(f"{_shown(value)} is not a whole number")
    number = int(value)
    if not parameter.minimum <= number <= parameter.maximum:
        raise ValueError(f"{number} is not between {parameter.minimum} and {parameter.maximum}")
    return number


def _size(_: Parameter, value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text_of(value)
    if not _SIZE.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a size: write a number and K, M, G, T or P")
    return text


def _path(parameter: Parameter, value: object) -> str:
    text = _text(parameter, value, longest=4096)
    if not text.startswith("/") or posixpath.normpath(text) != text:
        raise ValueError(f"{_shown(text)} is not an absolute path without . .. and double slashes")
    if parameter.below and not text.startswith(f"{parameter.below.rstrip('/')}/"):
        raise ValueError(f"{_shown(text)} is not below {parameter.below}")
    return text


def _free_text(parameter: Parameter, value: object) -> str:
    return _text(parameter, value, longest=parameter.longest)


def _text(_: Parameter, value: object, *, longest: int) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text_of(value)
    if not text or len(text) > longest:
        raise ValueError(f"has {len(text)} characters: give 1 to {longest}")
    if _NOT_PRINTABLE.search(text):
        raise ValueError(f"{_shown(text)} has characters that cannot be printed")
    if text.startswith("-"):
        raise ValueError(f"{_shown(text)} begins with a dash, like an option")
    return text


def _choice(parameter: Parameter, value: object) -> str:
    text = _text_of(value)
    if text not in parameter.of:
        near = did_you_mean(text, parameter.of) or f": use {', '.join(parameter.of)}"
        raise ValueError(f"{_shown(text)} is no choice{near}")
    return text


def _boolean(_: Parameter, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"{_shown(value)} is neither true nor false")


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        # A list of one is what GPFS gives where one value applies.
        if len(value) == 1:
            return _text_of(value[0])
        raise ValueError(f"is a list of {len(value)}, and one value is needed")
    raise ValueError(f"{_shown(value)} is not a text")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


_READERS: Final[Mapping[Type, Callable[[Parameter, Any], Value]]] = {
    "name": _name,
    "names": _names,
    "node": _node,
    "nodes": _nodes,
    "integer": _integer,
    "size": _size,
    "path": _path,
    "text": _free_text,
    "choice": _choice,
    "boolean": _boolean,
}
