"""Templates: the words of a command, rendered from an event with Jinja2, sandboxed and strict, without loops.

    command: [mmchdisk, "{{ data.fsName }}", start, -d, "{{ data.diskName | join(';') }}"]

Each word in the file becomes exactly one word of the command, whatever the values contain: blanks, quotes and newlines
have no meaning, since no shell reads them.  A leading dash does: a program that expects a name takes `--force` as an
option.  So a word is refused if it begins with a dash that comes from a value: `-{{ x }}` is allowed, `{{ x }}`
with the value `-f` is not.  Numbers, and texts that the template itself holds, as in `default('-')`, are no options by
accident.  A NUL is refused too, since no command accepts it; so is a list that was not joined.

What is absent or null counts as false: `or`, `if`, `default`, `is none` and `is not defined` take the branch for it, at
any depth.  It equals only null, and is in no list.  Any other use of it is an error that names it: printing, filters,
arithmetic and order.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, nodes

from router.cluster.facts.models import unknown
from router.errors import did_you_mean
from router.model.events import Event
from router.settings.local_zone import local_zone

from ..errors import TemplateError, without_event
from . import library_errors, template_severities
from .fact_paths import FACTS, AnyKey, Path, mistake
from .template_environment import ENVIRONMENT, FOREIGN, LARGEST, MARK, ONE_TEXT, OWN_TEXT
from .values import alert_values
from .values.alert_values import ALERT

LONGEST = 4096
"""Most characters in a template."""

DEEPEST = 50
"""Most levels of a template: Python refuses more brackets or indented blocks than some."""

_MOST_LISTS = 4
"""Most lists within one another that a template writes: as text, each doubles the backslashes in those within."""

_SHOWN = 80

_TAGS = (ENVIRONMENT.variable_start_string, ENVIRONMENT.block_start_string, ENVIRONMENT.comment_start_string)
_LINE_END = re.compile("\r\n|\r")
"""What Jinja2 replaces with a newline."""

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr),
    *(nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.List, nodes.Tuple),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.Concat, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_PARAMETERS = "parameters"
"""The values of an action, which only its own templates have."""

STEPS = "steps"
OF_STEP = frozenset(("output", "exit", "state", "succeeded", "failed"))
"""What a template can read of an earlier step, as `steps.NAME.output`."""

_NAMES = frozenset((*Event.model_fields, "fold", "meta", FACTS, ALERT, _PARAMETERS, STEPS))
_OF_FOLD = frozenset(("count", "nodes", "first", "last", "values", "alerts", "unlisted", "states"))


class About(Protocol):
    """What a template is rendered from."""

    def as_dict(self) -> Mapping[str, Any]:
        """Return the values by the names that templates use."""


class Template:
    """One word, parsed once; any thread may render it.

    `variables` lists the variables of the event's `data` that it reads, `parameters` those of an action, `facts` the
    paths of the facts that it reads, `steps` the values of earlier steps, such as `("snapshot", "output")`, `about` the
    names that it reads of `alert.about`.  `is_plain` means that it is the same for every event.
    """

    variables: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    facts: tuple[Path, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    about: tuple[str, ...] = ()
    _reads_alert = False

    def __init__(self, text: str) -> None:
        """Parse *text*; raises TemplateError with the line of the mistake."""
        self.text = text
        self._shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
        if len(text) > LONGEST:
            raise TemplateError(f"the template has {len(text)} characters, and the limit is {LONGEST}")
        if MARK in text:
            raise TemplateError("a NUL cannot be in a word of a command")
        self.is_plain = not any(each in text for each in _TAGS)
        if self.is_plain:
            # Most words of commands are, and Jinja2 takes 0.2 ms to compile one.
            self._plain = _LINE_END.sub("\n", text)
            return
        try:
            tree = ENVIRONMENT.parse(text)
            # Before it is compiled, which may take as long as what is refused here.
            _check(tree, text)
            _check_lists(tree)
            of_alert = alert_values.variables(_reads(tree, ALERT))
            self.variables = tuple(dict.fromkeys((*_reads(tree, "data"), *of_alert)))
            self._reads_alert = any(each == nodes.Name(ALERT, "load") for each in _walk(tree))
            self.about = tuple(dict.fromkeys(_about(tree)))
            self.parameters = tuple(dict.fromkeys(_reads(tree, _PARAMETERS)))
            self.steps = tuple(dict.fromkeys(_step_values(tree)))
            self.facts = tuple(
                dict.fromkeys(Path(steps) for each in _walk(tree) if (steps := _steps(each)) is not None)
            )
            template_severities.order(tree)
            self._template = ENVIRONMENT.from_string(_with_own_texts(tree))
        except TemplateSyntaxError as error:
            raise TemplateError(f"invalid template{_line(error.lineno)}: {error.message}") from error
        except RecursionError:
            raise TemplateError("invalid template: it is nested too deeply") from None
        except JinjaError as error:
            raise TemplateError(f"invalid template: {error}") from error

    def render(self, about: About) -> str:
        """Return the word for *about*, a delivery or an event; raises TemplateError with the reason if that fails."""
        parts = self._parts(about)
        kind, first = next((part for part in parts if part[1]), ("", ""))
        if kind == FOREIGN and first.startswith("-"):
            raise TemplateError(f"{self._shown} would begin with the dash of the value {first[:100]!r}, like an option")
        return self._joined(text for _, text in parts)

    def render_text(self, about: About) -> str:
        """Return the text for *about* where a leading dash is harmless, such as in an environment variable."""
        return self._joined(text for _, text in self._parts(about))

    def render_escaped(self, about: About, escape: Callable[[str], str]) -> str:
        """Return the text for *about* with each value passed through *escape*, so that no value is read as markup."""
        return self._joined(escape(text) if kind else text for kind, text in self._parts(about))

    def _parts(self, about: About) -> list[tuple[str, str]]:
        """Return the parts of the word, each with its kind: FOREIGN or OWN for a value, empty for other text."""
        if self.is_plain:
            return [("", self._plain)]
        try:
            values = {name: value for name, value in about.as_dict().items() if value is not None}
            if self.facts and FACTS not in values:
                values[FACTS] = unknown("").for_templates()
            if self._reads_alert and (alert := alert_values.for_templates(values, local_zone())):
                values[ALERT] = alert
            parts = self._template.render(values).split(MARK)
        except TemplateError as error:
            raise TemplateError(f"{self._shown}: {error}") from error
        except (JinjaError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TemplateError(f"{self._shown} cannot be rendered: {library_errors.template(str(error))}") from error
        # Every other part is a value, after the character of its kind.
        return [(part[0], part[1:]) if at % 2 else ("", part) for at, part in enumerate(parts)]

    def _joined(self, parts: Iterable[str]) -> str:
        text = "".join(parts)
        if len(text) > LARGEST:
            raise TemplateError(f"{self._shown} would render to {len(text)} characters, and the limit is {LARGEST}")
        return text


def _line(number: int) -> str:
    return f" (line {number})" if number > 1 else ""


def _check(tree: nodes.Template, text: str) -> None:
    for each in _walk(tree):
        if not isinstance(each, _ALLOWED):
            name = type(each).__name__.lower()
            raise TemplateError(f"{name!r} is not allowed in a template{_line(each.lineno)}")
        if isinstance(each, nodes.Name) and each.name not in _NAMES:
            near = without_event(text) if each.name == "event" else did_you_mean(each.name, _NAMES)
            raise TemplateError(f"unknown name {each.name}{near or f'; write data.{each.name} for a variable'}")
        if (part := _part(each, "fold")) is not None and part not in _OF_FOLD:
            raise TemplateError(f"fold has no {part}{did_you_mean(part, _OF_FOLD) or f'; write fold.values.{part}'}")
        if (part := _part(each, ALERT)) is not None and (wrong := alert_values.mistake(part)):
            raise TemplateError(wrong)
        if isinstance(each, nodes.Const):
            _check_literal(each.value)
        if (steps := _steps(each)) is not None and (wrong := mistake(Path(steps))):
            raise TemplateError(wrong)


def _check_lists(node: nodes.Node, around: int = 0) -> None:
    around += isinstance(node, nodes.List | nodes.Tuple)
    if around > _MOST_LISTS:
        raise TemplateError(f"lists are nested more than {_MOST_LISTS} deep{_line(node.lineno)}")
    for child in node.iter_child_nodes():
        _check_lists(child, around)


def _check_literal(value: object) -> None:
    if isinstance(value, str) and MARK in value:
        raise TemplateError("a NUL cannot be in a word of a command")
    if isinstance(value, float) and value == float("inf"):
        raise TemplateError("a number is too large")


def _walk(node: nodes.Node, depth: int = 0) -> Iterator[nodes.Node]:
    if depth > DEEPEST:
        raise TemplateError(f"the template is nested more than {DEEPEST} levels deep{_line(node.lineno)}")
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child, depth + 1)


def _with_own_texts(tree: nodes.Template) -> nodes.Template:
    """Return *tree* with a filter around each text of its own that a value can be, or begin with.

    Another one is around each part of a text that is joined by `~`, which would write a list as Python does.
    """
    for output in tree.find_all(nodes.Output):
        output.nodes = [_owned(each) for each in output.nodes]
    for joined in tree.find_all(nodes.Concat):
        joined.nodes = [nodes.Filter(each, ONE_TEXT, [], [], None, None, lineno=each.lineno) for each in joined.nodes]
    return tree.set_environment(ENVIRONMENT)  # type: ignore[return-value]  # it returns itself


def _owned(node: nodes.Expr) -> nodes.Expr:
    match node:
        case nodes.TemplateData():
            return node
        case nodes.CondExpr():
            node.expr1 = _owned(node.expr1)
            node.expr2 = _owned(node.expr2) if node.expr2 else None
        case nodes.Or() | nodes.And():
            node.left, node.right = _owned(node.left), _owned(node.right)
        case nodes.Filter(name="default"):
            node.node = _owned(node.node) if node.node else None
            node.args = [_owned(each) for each in node.args]
            for option in node.kwargs:
                option.value = _owned(option.value)
        case _ if _begins_as_written(node):
            return nodes.Filter(node, OWN_TEXT, [], [], None, None, lineno=node.lineno)
    return node


def _begins_as_written(node: nodes.Expr) -> bool:
    match node:
        case nodes.Const():
            return isinstance(node.value, str) and node.value != ""
        case nodes.Concat():
            return _begins_as_written(node.nodes[0])
        case nodes.Add():
            return _begins_as_written(node.left)
    return False


def _step_values(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    """Yield each value of a step that *tree* reads.  Raises TemplateError if it reads `steps` in any other way."""
    named = 0
    for each in _walk(tree):
        if not isinstance(each, nodes.Getattr | nodes.Getitem) or (name := _part(each.node, STEPS)) is None:
            continue
        part = each.attr if isinstance(each, nodes.Getattr) else getattr(each.arg, "value", None)
        if part not in OF_STEP:
            raise TemplateError(f"steps.{name} has no {part}{did_you_mean(str(part), OF_STEP)}")
        named += 1
        yield name, part
    if named != sum(1 for each in _walk(tree) if each == nodes.Name(STEPS, "load")):
        raise TemplateError("steps must be read as steps.NAME.output, with the name of an earlier step")


def _reads(node: nodes.Node, of: str) -> Iterable[str]:
    return (name for each in _walk(node) if (name := _part(each, of)))


def _about(tree: nodes.Node) -> Iterator[str]:
    """Yield x of each `alert.about.x` and `alert.about["x"]`."""
    for each in _walk(tree):
        if isinstance(each, nodes.Getattr | nodes.Getitem) and _part(each.node, ALERT) == alert_values.ABOUT:
            name = each.attr if isinstance(each, nodes.Getattr) else getattr(each.arg, "value", None)
            if isinstance(name, str):
                yield name


def _part(node: nodes.Node, of: str) -> str | None:
    """Return x of `of.x` or `of["x"]`."""
    if isinstance(node, nodes.Getattr | nodes.Getitem) and node.node == nodes.Name(of, "load"):
        if isinstance(node, nodes.Getattr):
            return node.attr
        return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None
    return None


def _steps(node: nodes.Node) -> tuple[str | AnyKey, ...] | None:
    """Return the path to a fact, such as `facts.nodes[node].state`; None for any other node."""
    if isinstance(node, nodes.Name):
        return () if node.name == FACTS else None
    if not isinstance(node, nodes.Getattr | nodes.Getitem) or (above := _steps(node.node)) is None:
        return None
    if isinstance(node, nodes.Getattr):
        return (*above, node.attr)
    name = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return (*above, name if isinstance(name, str) else AnyKey())
