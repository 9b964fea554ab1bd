"""Says in plain words what the libraries of CEL and Jinja2 report.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_TYPES: Final[Mapping[str, str]] = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a map",
    "NoneType": "null",
}
_Forms = Sequence[tuple[str, Callable[[re.Match[str]], str]]]
_PYTHON: Final[_Forms] = (
    (
        r"unsupported operand type\(s\) for (\S+): '(\w+)' and '(\w+)'",
        lambda found: f"{_type(found[2])} and {_type(found[3])} cannot be combined by {found[1]}",
    ),
    (
        r'can only concatenate (\w+) \(not "(\w+)"\) to \w+',
        lambda found: f"{_type(found[1])} and {_type(found[2])} cannot be combined by +",
    ),
    (
        r"'(\S+)' not supported between instances of '(\w+)' and '(\w+)'",
        lambda found: f"{_type(found[2])} and {_type(found[3])} cannot be compared by {found[1]}",
    ),
    (r"type (\w+) doesn't define __(\w+)__ method", lambda found: f"{found[2]} does not take {_type(found[1])}"),
    (r"'(\w+)' object is not iterable", lambda found: f"{_type(found[1])} is no list"),
    (r"object of type '(\w+)' has no len\(\)", lambda found: f"{_type(found[1])} has no length"),
    (
        r"_?(?:do_)?(\w+?)\(\) missing \d+ required positional arguments?: (.+)",
        lambda found: f"{found[1]}() needs {found[2].replace(chr(39), '')}",
    ),
    (r"_?(?:do_)?(\w+?)\(\) takes .*", lambda found: f"{found[1]}() has too many arguments"),
    (
        r"_?(?:do_)?(\w+?)\(\) got an unexpected keyword argument '(\w+)'",
        lambda found: f"{found[1]}() has no argument {found[2]}",
    ),
)
_SYNTAX: Final[_Forms] = (
    (r".*Recursion limit of (\d+) exceeded.*", lambda found: f"more than {found[1]} brackets are within one another"),
    (r"(?:mismatched|extraneous) input '<EOF>'.*", lambda _: "the filter ends too early"),
    (r"token recognition error at: '(.).*", lambda found: f"unexpected '{found[1]}'"),
    (r"(?:mismatched|extraneous) input (.*?)", lambda found: f"unexpected {found[1]}"),
)
_EVALUATION: Final[_Forms] = (
    (
        r"Undefined variable or function: '(startsWith|endsWith|contains|matches|size|get\w+)'",
        lambda found: f"{found[1]}() cannot be asked of what it is given, such as null",
    ),
    (r"(Function '\w+' error: )(.*)", lambda found: found[1] + evaluation(found[2])),
    (r"Arithmetic overflow .*", lambda _: "the result is larger than a whole number can be"),
    (r".*invalid digit found in string", lambda _: "the text is no whole number"),
    (r".*invalid float literal", lambda _: "the text is no number"),
    (r"(.*not a valid regex):\s+regex parse error:.*error: (.*)", lambda found: f"{found[1]}: {found[2]}"),
)
_OPERATORS: Final = {"and": "&&", "or": "||", "not": "!"}


def template(message: str) -> str:
    """Return what *message*, of an error while a template is rendered, means.

    >>> template("'>' not supported between instances of 'int' and 'str'")
    'a whole number and a text cannot be compared by >'
    """
    return _said(_PYTHON, message)


def evaluation(message: str) -> str:
    """Return what *message*, of an error while a filter is evaluated, means.

    >>> evaluation("Function 'int' error: string parse error: invalid digit found in string")
    "Function 'int' error: the text is no whole number"
    """
    return _said(_EVALUATION, message)


def syntax(message: str, before: str) -> str:
    """Return what *message*, of a mistake in the syntax of a filter, means; *before* is the text before its place.

    >>> syntax("mismatched input 'and'", "a "), syntax("mismatched input 'data'", "not ")
    ("unexpected 'and'; write &&", "unexpected 'data'; write ! for not")
    """
    said = _said(_SYNTAX, message)
    if (found := re.fullmatch(r"unexpected '(\w+)'", said)) and found[1] in _OPERATORS:
        return f"{said}; write {_OPERATORS[found[1]]}"
    word = re.search(r"\b(and|or|not)\s*\Z", before)
    return f"{said}; write {_OPERATORS[word[1]]} for {word[1]}" if word else said


def _said(forms: _Forms, message: str) -> str:
    for pattern, words in forms:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return words(found)
    return message


def _type(name: str) -> str:
    return _TYPES.get(name, name)
