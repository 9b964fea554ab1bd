"""Our parser of CEL reads what the library's own accepts, and means the same."""

import pytest
from cel import compile as compiled
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.expressions.cel_syntax.parser import DEEPEST, UnreadableExpression, parse
from consumers.expressions.cel_syntax.tree import Call, Constant, Macro, Name, Node, Select, walk

NAMES = st.sampled_from(["data", "node", "severity", "time", "x"])
STRINGS = st.sampled_from(
    [
        '"a"',
        "'b'",
        'r"\\d"',
        '"\\x41\\u00e4\\n\\\\"',
        '"""a"b"""',
        "'''it's'''",
        'b"a"',
        '""',
        '"\\101"',
        '"// no"',
        "R'\\'",
    ]
)
NUMBERS = st.sampled_from(["0", "1", "-5", "7u", "0x1F", "2.5", "1e3", "-1.5E-3", ".5", "9223372036854775807"])
PLAIN = st.one_of(NAMES, STRINGS, NUMBERS, st.sampled_from(["true", "false", "null"]))
BLANK = st.sampled_from(["", " ", "\n", " // a comment\n", "\t"])
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", " in ", "+", "-", "*", "/", "%", "&&", "||"])


def _larger(smaller):
    fields = st.sampled_from(["fsName", "x", "size", "const"])
    macros = st.sampled_from(["all", "exists", "exists_one", "map", "filter"])
    return st.one_of(
        st.builds("{}{}{}{}{}".format, smaller, BLANK, SIGNS, BLANK, smaller),
        st.builds("({}{})".format, BLANK, smaller),
        st.builds("!({})".format, smaller),
        st.builds("-({})".format, smaller),
        st.builds("({}) ? {} : {}".format, smaller, smaller, smaller),
        st.builds("({}).{}".format, smaller, fields),
        st.builds("data{}.{}{}".format, BLANK, BLANK, fields),
        st.builds("has(({}).{})".format, smaller, fields),
        st.builds("({})[{}]".format, smaller, smaller),
        st.builds("[{}, {},]".format, smaller, smaller),
        st.builds("{{{}: {}}}".format, smaller, smaller),
        st.builds("size({})".format, smaller),
        st.builds("({}).startsWith({})".format, smaller, smaller),
        st.builds("({}).{}(x, {})".format, smaller, macros, smaller),
        st.builds("({}).map(x, {}, {})".format, smaller, smaller, smaller),
    )


EXPRESSIONS = st.recursive(PLAIN, _larger, max_leaves=12)


def library(text):
    """The names and functions in *text*, as the library lists them; None if it refuses *text*."""
    try:
        found = compiled(text).references()
    except ValueError:
        return None
    return set(found["variables"]), {name for name in found["functions"] if name[0].isalpha()}


@pytest.mark.thorough
@settings(max_examples=400, deadline=None)
@given(EXPRESSIONS)
def test_what_the_library_accepts_is_read_with_the_same_names_and_functions(text):
    known = library(text)

    if known is None:
        return
    tree = parse(text)

    assert {each.name for each, _ in walk(tree) if isinstance(each, Call)} == known[1]
    # Of some macros the library also lists what they bind.
    bound = {each.name for each, _ in walk(tree) if isinstance(each, Macro)}
    assert {each.name for each, _ in walk(tree) if isinstance(each, Name)} | bound == known[0] | bound


@settings(max_examples=400, deadline=None)
@given(st.one_of(STRINGS, NUMBERS))
def test_a_value_that_is_written_out_is_the_value_that_the_library_reads(text):
    tree = parse(text)

    assert isinstance(tree, Constant)
    value = compiled(text).execute({})
    assert tree.value == (value.decode() if isinstance(value, bytes) else value)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1 + 2 * 3 == 7", "(1 + (2 * 3)) == 7"),
        ("a || b && c", "a || (b && c)"),
        ("!a == b", "(!a) == b"),
        ("a ? b : c ? d : e", "a ? b : (c ? d : e)"),
        ("a - b - c", "(a - b) - c"),
        ("-a.b", "-(a.b)"),
        ('data["fsName"]', "data.fsName"),
        ("a in b == c", "(a in b) == c"),
    ],
)
def test_operators_bind_as_in_cel(text, same):
    assert parse(text) == parse(same)


def test_the_place_of_a_part_is_known():
    text = 'severity == "error" && (data.usage  > 5)'

    def places(node: Node) -> list[str]:
        return [text[slice(*each.span)] for each, _ in walk(node)]

    assert places(parse(text)) == [
        *(text, 'severity == "error"', "severity", '"error"'),
        *("data.usage  > 5", "data.usage", "data", "5"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Event{a: 1}", "messages such as Event"),
        ("(" * 5000, f"more than {DEEPEST} levels"),
        ("1" + " + 1" * 500, f"more than {DEEPEST} levels"),
        ("1 1", "unexpected '1' at column 3"),
        ("f(1", "expected ')' at column 4"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(text, said):
    with pytest.raises(UnreadableExpression, match=said.replace("(", r"\(").replace(")", r"\)")):
        parse(text)


def test_has_is_a_part_that_is_asked_for():
    assert parse("has(data.x)") == Select(parse("data"), "x", tests=True)
