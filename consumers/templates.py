"""Templates: the words of a command, filled in from an event.  Jinja2, sandboxed and strict, less all that loops.

    command: [mmchdisk, "{{ data.fsName }}", start, -d, "{{ data.diskName | join(';') }}"]

Each word of the file becomes exactly one word of the command, whatever the values hold: blanks, quotes and newlines
are characters like any others, since no shell reads them.  What is left is the leading dash: a value such as
`--force`, where a program expects a name, is an option to it.  A word that begins with a dash which the template
itself did not write is therefore refused; so `-{{ x }}` is fine, and `{{ x }}` with the value `-f` is not.  Refused
as well: a NUL, which no command takes, a null, which would read `None`, and a list that was not joined.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from router.events import Event
from router.facts import unknown

from .errors import TemplateError, did_you_mean
from .paths import FACTS, AnyKey, Path, mistake

LONGEST = 4096
"""Characters in a template at the most."""

LARGEST = 65536
"""Characters in a rendered word at the most."""

_MARK: Final = "\0"
"""Stands around each value while a word is rendered: no value may hold it, and no template."""

_SHOWN = 80

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr),
    *(nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.List, nodes.Tuple),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.Concat, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_FILTERS = (
    *("abs", "float", "int", "round", "length", "lower", "upper", "trim", "string"),
    *("first", "last", "sort", "unique"),
)
_TESTS = ("defined", "undefined", "none", "number", "string", "boolean", "in", "eq", "ne", "lt", "le", "gt", "ge")
_NAMES = frozenset((*Event.model_fields, "fold", FACTS))
_NUMBERS_ONLY = frozenset(("*", "%", "/", "//"))


class About(Protocol):
    """What a template is filled in from."""

    def as_dict(self) -> Mapping[str, Any]:
        """Return the values by the names that templates use."""


class Template:
    """One word, read once; it may be rendered from any thread.

    `variables` are those of the event's `data` that it reads, `facts` the ways to the facts that it reads.
    """

    def __init__(self, text: str) -> None:
        """Read *text*; raises TemplateError with the line in it."""
        self.text = text
        self._shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
        if len(text) > LONGEST:
            raise TemplateError(f"{len(text)} characters are too long for a template: {LONGEST} at the most")
        if _MARK in text:
            raise TemplateError("a NUL cannot be in a word of a command")
        try:
            tree = _ENVIRONMENT.parse(text)
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateSyntaxError as error:
            raise TemplateError(f"no template{_line(error.lineno)}: {error.message}") from error
        except (JinjaError, RecursionError) as error:
            raise TemplateError(f"no template: {error}") from error
        _check(tree)
        self.variables = tuple(dict.fromkeys(_reads(tree)))
        self.facts = tuple(dict.fromkeys(Path(steps) for each in _walk(tree) if (steps := _steps(each)) is not None))

    def render(self, about: About) -> str:
        """Return the word for *about*, a delivery or an event; raises TemplateError where there is none, and why."""
        parts = self._parts(about)
        first = next((at for at, part in enumerate(parts) if part), 0)
        # Every other part is a value.
        if first % 2 and parts[first].startswith("-"):
            word = f"{parts[first]:.100}"
            raise TemplateError(f"{self._shown} would begin with the dash of the value {word!r}: an option by accident")
        return self._bounded("".join(parts))

    def render_text(self, about: About) -> str:
        """Return the text for *about*, where a leading dash does no harm: a variable of the environment."""
        return self._bounded("".join(self._parts(about)))

    def render_escaped(self, about: About, escape: Callable[[str], str]) -> str:
        """Return the text for *about* with each value passed through *escape*: no value is markup in a page."""
        parts = self._parts(about)
        # Every other part is a value.
        return self._bounded("".join(escape(part) if at % 2 else part for at, part in enumerate(parts)))

    def _parts(self, about: About) -> list[str]:
        try:
            values = about.as_dict()
            if self.facts and FACTS not in values:
                values = {**values, FACTS: unknown("").for_templates()}
            return self._template.render(values).split(_MARK)
        except TemplateError as error:
            raise TemplateError(f"{self._shown}: {error}") from error
        except (JinjaError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TemplateError(f"{self._shown} cannot be filled in: {error}") from error

    def _bounded(self, text: str) -> str:
        if len(text) > LARGEST:
            raise TemplateError(f"{self._shown} would have {len(text)} characters: {LARGEST} at the most")
        return text


def _line(number: int) -> str:
    return f" (its line {number})" if number > 1 else ""


class _Missing(StrictUndefined):
    """What the event does not have; its use is an error that names it."""

    @property
    def _undefined_message(self) -> str:
        return f"the event has no {self._undefined_name}"


class _Environment(ImmutableSandboxedEnvironment):
    """What templates can use: no calls, no arithmetic on texts, nothing that grows faster than its template."""

    intercepted_binops = _NUMBERS_ONLY

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - jinja2's
        if not all(isinstance(each, (int, float)) for each in (left, right)):
            raise SecurityError(f"{operator} is for numbers only")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401, ARG002 - jinja2's
        # Attributes and variables are items; no Python object's own attribute is ever needed.
        return False

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - jinja2's
        # A variable named as a method of `dict`, such as `count`, has to be the variable.
        return self.getitem(obj, attribute)


def _join(value: object, separator: str = "") -> object:
    """Join a list; what is no list is itself, since a value that did not fit its type stays a text."""
    return separator.join(str(each) for each in value) if isinstance(value, list) else value


def _default(value: object, instead: object) -> object:
    """Return *instead* of a variable that is not there, or null."""
    return instead if value is None or isinstance(value, Undefined) else value


def _replace(value: object, old: str, new: str) -> str:
    """Replace every *old*, bounded."""
    text = str(value)
    if not old:
        raise ValueError("replace needs a text to be replaced")
    if len(text) + text.count(old) * (len(new) - len(old)) > LARGEST:
        raise ValueError("the replaced text is too long")
    return text.replace(old, new)


def _mark(value: object) -> str:
    """Return *value* as the text of a word, marked as a value."""
    if isinstance(value, Undefined):
        # Its text is the error that names it.
        return str(value)
    if value is None:
        raise TemplateError("the value is null (does not apply to this event): give it a | default('...')")
    if isinstance(value, (list, tuple)):
        raise TemplateError("the value is a list: | join(',') makes it one word")
    if isinstance(value, dict):
        raise TemplateError("the value is a group of values: name one, as in data.fsName")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _MARK in text:
        raise TemplateError("the value holds a NUL, which no command takes")
    return f"{_MARK}{text}{_MARK}"


def _environment() -> _Environment:
    environment = _Environment(
        undefined=_Missing, autoescape=False, finalize=_mark, keep_trailing_newline=True, cache_size=0
    )
    own: Mapping[str, Callable[..., object]] = {"default": _default, "join": _join, "replace": _replace}
    environment.filters = {name: environment.filters[name] for name in _FILTERS} | dict(own)
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    environment.globals = {}
    return environment


_ENVIRONMENT = _environment()


def _check(tree: nodes.Template) -> None:
    for each in _walk(tree):
        if not isinstance(each, _ALLOWED):
            name = type(each).__name__.lower()
            raise TemplateError(f"{name!r} has no place in a word of a command{_line(each.lineno)}")
        if isinstance(each, nodes.Name) and each.name not in _NAMES:
            near = did_you_mean(each.name, _NAMES)
            raise TemplateError(f"unknown name {each.name}{near or f'; variables are written data.{each.name}'}")
        if isinstance(each, nodes.Const) and isinstance(each.value, str) and _MARK in each.value:
            raise TemplateError("a NUL cannot be in a word of a command")
        if (steps := _steps(each)) is not None and (wrong := mistake(Path(steps))):
            raise TemplateError(wrong)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _reads(node: nodes.Node) -> Iterable[str]:
    return (name for each in _walk(node) if (name := _variable(each)))


def _variable(node: nodes.Node) -> str | None:
    """Return x of `data.x` or `data["x"]`."""
    if isinstance(node, nodes.Getattr | nodes.Getitem) and node.node == nodes.Name("data", "load"):
        if isinstance(node, nodes.Getattr):
            return node.attr
        return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None
    return None


def _steps(node: nodes.Node) -> tuple[str | AnyKey, ...] | None:
    """Return the way to a fact, as `facts.nodes[node].state`; None of what is none."""
    if isinstance(node, nodes.Name):
        return () if node.name == FACTS else None
    if not isinstance(node, nodes.Getattr | nodes.Getitem) or (above := _steps(node.node)) is None:
        return None
    if isinstance(node, nodes.Getattr):
        return (*above, node.attr)
    name = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return (*above, name if isinstance(name, str) else AnyKey())
