"""The Jinja2 environment of templates: what is absent, which filters and tests exist, and how values are written.

Nothing here is evaluated while a template is compiled, and nothing grows faster than its template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import filters as jinja_filters
from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from router.cluster.facts.views import Named
from router.settings.local_zone import local_zone

from ..errors import FilterError, TemplateError
from .severities import rank
from .values import human_texts

LARGEST = 65536
"""Most characters in a rendered word."""

MARK: Final = "\0"
"""Surrounds each value while a word is rendered; no value and no template may contain it."""

FOREIGN, OWN = "f", "o"
"""The first character of a marked value: whether its beginning comes from the event, or from the template."""

OWN_TEXT: Final = "text of the template"
"""The filter around a text that the template itself holds; no template can write its name."""

ONE_TEXT: Final = "text of one value"
"""The filter around a value that is joined to others by `~`; no template can write its name."""

RANK: Final = "rank of the severity"
"""The filter around a severity that is compared by order; no template can write its name."""

_FILTERS = ("abs", "length", "first", "last", "sort")
_FILTERS_OF_ONE = ("float", "int", "lower", "upper", "trim", "string")
_TESTS = ("number", "string", "boolean", "in", "eq", "ne", "lt", "le", "gt", "ge")
_NUMBERS_ONLY = frozenset(("*", "%", "/", "//"))
_MOST_DIGITS = 15
_GUARD = "add | default('...'), or test it with if"


class Missing(Undefined):
    """What is absent or null: false, equal only to null, and an error that names it wherever it is used otherwise."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, holder = self._undefined_name, self._undefined_obj
        if self._undefined_hint:
            return self._undefined_hint
        if isinstance(holder, list):
            return f"the list has {len(holder)} items, so no item {name}: {_GUARD}"
        if isinstance(holder, Named):
            return f"the facts have no {name}: {_GUARD}"
        if isinstance(holder, dict) and holder.get(name) is None and name in holder:
            return f"{name}: the value is null (does not apply to this event): {_GUARD}"
        return f"the event has no {name}: {_GUARD}"

    def __bool__(self) -> bool:
        """Count as false."""
        return False

    def __contains__(self, _: object) -> bool:
        """Contain nothing."""
        return False

    def __eq__(self, other: object) -> bool:
        """Equal what is absent or null."""
        return is_absent(other)

    def __ne__(self, other: object) -> bool:
        """Equal nothing else."""
        return not is_absent(other)

    def __hash__(self) -> int:
        """Return one value, since all of them are equal."""
        return hash(None)

    __str__ = __iter__ = __len__ = Undefined._fail_with_undefined_error  # noqa: SLF001 - of the base class
    __abs__ = __round__ = __index__ = Undefined._fail_with_undefined_error  # noqa: SLF001 - as above


def is_absent(value: object) -> bool:
    """Return whether *value* is absent, null, or a group without any value, as of a node that the facts do not know."""
    if isinstance(value, dict):
        return bool(value) and all(map(is_absent, value.values()))
    return value is None or isinstance(value, Undefined)


class _Environment(ImmutableSandboxedEnvironment):
    """No calls, no attributes of Python objects, no arithmetic on texts."""

    intercepted_binops = _NUMBERS_ONLY

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - jinja2's
        for each in (left, right):
            if isinstance(each, Undefined):
                str(each)  # raises the error that names it
            if not isinstance(each, (int, float)):
                raise SecurityError(f"{operator} accepts only numbers")
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - jinja2's
        """Return an item of *obj*, never an attribute: a variable named like a method of `dict` is the variable."""
        if isinstance(obj, Undefined):
            # The first name that is absent is the one to report.
            return obj
        try:
            found = obj[argument]
        except (TypeError, LookupError):
            found = None
        return self.undefined(obj=obj, name=argument) if is_absent(found) else found

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - jinja2's
        """Return the item *attribute* of *obj*."""
        return self.getitem(obj, attribute)


class _Own(str):
    """A text whose beginning the template itself holds."""

    __slots__ = ()


def _own(value: object) -> object:
    return _Own(value) if isinstance(value, str) else value


def _rank(value: object) -> object:
    if isinstance(value, Undefined):
        return value  # to compare it raises the error that names it
    try:
        return rank(value)
    except FilterError as error:
        raise TemplateError(str(error)) from error


def _join(value: object, separator: str = "") -> object:
    """Join a list, and the lists in it, such as the node lists of a fold; return any other value unchanged.

    A value that did not fit its type stays a text.  Raises ValueError if the result would be too long.
    """
    if not isinstance(value, (list, tuple)):
        return value
    texts: list[str] = []
    size = -len(separator)
    for each in value:
        texts.append(_one_text(_join(each, separator)))
        size += len(separator) + len(texts[-1])
        if size > LARGEST:
            raise ValueError("the joined text is too long")
    return separator.join(texts)


def _default(value: object, default_value: object = "", boolean: object = False) -> object:  # noqa: FBT002 - jinja2's
    """Return *default_value* if the value is absent or null; with *boolean*, also if it counts as false."""
    return default_value if is_absent(value) or (boolean and not value) else value


def _replace(value: object, old: str, new: str) -> str:
    """Replace every *old* with *new*; raises ValueError if the result would be too long."""
    text = str(value)
    if not old:
        raise ValueError("replace needs a text to search for")
    if len(text) + text.count(old) * (len(new) - len(old)) > LARGEST:
        raise ValueError("the replaced text is too long")
    return text.replace(old, new)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:  # noqa: ANN401 - jinja2 checks it
    """Round as Jinja2 does, to a bounded number of digits: it raises 10 to their power."""
    if not -_MOST_DIGITS <= precision <= _MOST_DIGITS:
        raise ValueError(f"round accepts at most {_MOST_DIGITS} digits")
    return jinja_filters.do_round(value, precision, method)


def _size(value: object, unit: str = "B") -> str:
    """Return the number *value* of *unit* as people write sizes."""
    _one_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("size takes a number")  # noqa: TRY004 - the environment reports this class
    return human_texts.size(value, unit)


def _unique(context: Context, value: Any) -> list[Any]:  # noqa: ANN401 - the filter of jinja2 checks it
    return list(jinja_filters.sync_do_unique(context.environment, value))


def _one_text(value: object) -> str:
    """Return *value* as text; raises TemplateError if it is no single value."""
    if value is None:
        raise TemplateError("the value is null")
    if isinstance(value, (list, tuple)):
        raise TemplateError("the value is a list: add | join(',') to make it one word")
    if isinstance(value, dict):
        raise TemplateError("the value is a group of values: name one of them, as in data.fsName")
    # What is absent raises the error that names it.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_one(filtered: Callable[..., object]) -> Callable[..., object]:
    """Return the filter *filtered*, but only for single values: jinja2 would write a list as Python does."""

    def of_one(value: object, *arguments: object, **options: object) -> object:
        _one_text(value)
        return filtered(value, *arguments, **options)

    return of_one


@pass_context
def _marked(_: Context, value: object) -> str:
    """Return *value* as the text of a word, marked as a value.

    It takes the context so that jinja2 does not evaluate it while it compiles.
    """
    if isinstance(value, Undefined):
        # Its text is the error message that names it.
        return str(value)
    text = _one_text(value)
    if MARK in text:
        raise TemplateError("the value contains a NUL, which no command accepts")
    return f"{MARK}{OWN if isinstance(value, (_Own, int, float)) else FOREIGN}{text}{MARK}"


def _environment() -> _Environment:
    made = _Environment(
        undefined=Missing, autoescape=False, finalize=_marked, keep_trailing_newline=True, cache_size=0, optimized=False
    )
    filters: Mapping[str, Callable[..., object]] = {
        "default": _default,
        "join": _join,
        "local": _of_one(lambda value: human_texts.moment(str(value), local_zone())),
        "replace": _of_one(_replace),
        "round": _round,
        "size": _size,
        "unique": pass_context(_unique),
        OWN_TEXT: _own,
        ONE_TEXT: _one_text,
        RANK: _rank,
    }
    tests: Mapping[str, Callable[..., bool]] = {
        "defined": lambda value: not is_absent(value),
        "undefined": is_absent,
        "none": is_absent,
    }
    of_one = {name: _of_one(made.filters[name]) for name in _FILTERS_OF_ONE}
    made.filters = {name: made.filters[name] for name in _FILTERS} | of_one | dict(filters)
    made.tests = {name: made.tests[name] for name in _TESTS} | dict(tests)
    made.globals = {}
    return made


ENVIRONMENT = _environment()
