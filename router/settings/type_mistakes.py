"""What is wrong with a value that pydantic refuses, in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LISTS = frozenset({"tuple_type", "list_type", "set_type", "frozen_set_type"})
"""The types of errors about a value that is not a list."""

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(LISTS, "must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "must be a mapping"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be a text",
    "path_type": "must be a path",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "must be greater than or equal to {}"),
    "greater_than": ("gt", "must be greater than {}"),
    "less_than_equal": ("le", "must be less than or equal to {}"),
    "less_than": ("lt", "must be less than {}"),
    "too_long": ("max_length", "must have at most {} items"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
    "literal_error": ("expected", "must be {}"),
}
_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.+=-]*")
_MOST = 100


def text(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """Return what is wrong by the *error*, without the value."""
    kind = error["type"]
    if kind in {"too_short", "string_too_short"} or (error["input"] is None and kind in _KINDS):
        return "is empty"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return words.format(error["ctx"][name])
    message = str(error["msg"]).removeprefix("Input ").replace("should", "must", 1)
    return _KINDS.get(kind, f"{message[:1].lower()}{message[1:]}")


def as_list(value: str) -> str:
    """Return the words of the text *value* as the list that was probably meant.

    >>> as_list("/bin/echo {{ node }}"), as_list("exit:64")
    ('[/bin/echo, "{{ node }}"]', '["exit:64"]')
    """
    words = re.findall(r"\{\{.*?\}\}|\S+", value)
    listed = ", ".join(each if _PLAIN.fullmatch(each) else json.dumps(each, ensure_ascii=False) for each in words)
    return f"[{listed}]" if words and len(listed) <= _MOST else "[first, second]"
