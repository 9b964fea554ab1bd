"""What the checks of types say of a filter is true of all events, and what they accept is not the same for all."""

import random
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from consumers.errors import FilterError
from consumers.expressions.cel_syntax.tree import source, walk
from consumers.expressions.filters import Filter, Verdict
from consumers.expressions.type_checks.checker import check, domains
from consumers.expressions.type_checks.event_domains import Selected
from router.model.catalogue import Catalogues
from tests.consuming import make_event

CATALOGUES = Catalogues.shipped()
TYPES = tuple(
    CATALOGUES["gpfs"].event(each) for each in ("softQuotaExceeded", "diskFailure", "deadlockDetected", "nodeJoin")
)
SELECTED = Selected(CATALOGUES, TYPES)
NAMES = ("a", "b", "nsd3")
NUMBERS = (0, 1, 2, 3)
VARIABLES = {
    "fsName": st.sampled_from((*NAMES, "other", None)),
    "filesetName": st.sampled_from((*NAMES, "other", None)),
    "blockUsage": st.sampled_from((*NUMBERS, -1, 4, None)),
    "filesUsage": st.sampled_from((*NUMBERS, -1, 4, None)),
    "waiterLength": st.sampled_from((0.5, 1.0, 1.5, 2.5, -1.0, 7.0, None)),
    "diskName": st.one_of(st.none(), st.lists(st.sampled_from((*NAMES, "other")), min_size=1, max_size=3)),
    "eventNode": st.one_of(st.none(), st.lists(st.sampled_from((*NAMES, "other")), min_size=1, max_size=3)),
}


def event_of(kind, data, node):
    same = {name: getattr(kind, name) for name in ("type", "category", "severity", "scope")}
    return make_event().model_copy(update={**same, "data": data, "node": node})


def full(event):
    """Whether *event* has all variables of its type, and none is null."""
    names = {each.name for each in CATALOGUES["gpfs"].of(CATALOGUES["gpfs"].event(event.name))} & VARIABLES.keys()
    return all(event.data.get(each) is not None for each in names)


@st.composite
def events(draw):
    kind = draw(st.sampled_from(TYPES))
    names = {each.name for each in CATALOGUES["gpfs"].of(kind)} & VARIABLES.keys()
    data = {name: draw(VARIABLES[name]) for name in sorted(names) if draw(st.integers(0, 3))}
    return event_of(kind, data, draw(st.sampled_from((*NAMES, "other"))))


WORDS = st.sampled_from([f'"{each}"' for each in NAMES])
COUNTS = st.sampled_from([str(each) for each in (*NUMBERS, 1.5)])
ANY_CONSTANT = st.one_of(
    WORDS,
    COUNTS,
    st.sampled_from(['"warning"', '"error"', '"gpfs.diskFailure"', '"quota"', "null", "true"]),
    st.sampled_from(['"NSD3"', '"a,b"', '"18:00"', '"2026-11-20"', "9223372036854775807"]),
)
TERMS = st.sampled_from(
    [f"data.{each}" for each in VARIABLES] + ["severity", "type", "category", "scope", "node", "subject", "time"]
)
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
ATOMS = st.one_of(
    st.builds("{} {} {}".format, TERMS, SIGNS, ANY_CONSTANT),
    st.builds("{} {} {}".format, TERMS, SIGNS, TERMS),
    st.builds("{} in {}".format, ANY_CONSTANT, TERMS),
    st.builds("{} in [{}, {}]".format, TERMS, ANY_CONSTANT, ANY_CONSTANT),
    st.builds("has({})".format, st.sampled_from([f"data.{each}" for each in VARIABLES])),
    st.builds("size({}) {} {}".format, TERMS, SIGNS, COUNTS),
    st.builds(
        "{}.{}({})".format, TERMS, st.sampled_from(["startsWith", "endsWith", "contains", "matches"]), ANY_CONSTANT
    ),
    st.builds("{}.{}(x, x {} {})".format, TERMS, st.sampled_from(["exists", "all", "exists_one"]), SIGNS, ANY_CONSTANT),
    st.builds("{} {} {} {} {}".format, TERMS, st.sampled_from("+-*/%"), COUNTS, SIGNS, COUNTS),
    st.builds("{}[{}] {} {}".format, TERMS, COUNTS, SIGNS, WORDS),
    st.builds("{} == double({})".format, TERMS, TERMS),
    st.builds("{0} {1} {0}".format, TERMS, SIGNS),
    st.builds("{} {} [{}]".format, TERMS, st.sampled_from(["==", "!="]), st.one_of(st.just(""), ANY_CONSTANT)),
    st.builds("string({}) == {}".format, TERMS, WORDS),
)


def _joined(smaller):
    return st.one_of(
        st.builds("({}) && ({})".format, smaller, smaller),
        st.builds("({}) || ({})".format, smaller, smaller),
        st.builds("!({})".format, smaller),
        st.builds("(({}) ? ({}) : ({}))".format, smaller, smaller, smaller),
    )


def compiled(text):
    try:
        return Filter(text)
    except FilterError:
        return None


@pytest.mark.thorough
@settings(max_examples=100, deadline=None)
@given(st.recursive(ATOMS, _joined, max_leaves=5), st.lists(events(), min_size=1, max_size=12))
def test_each_part_of_an_expression_is_on_every_event_what_the_checks_say_that_it_can_be(text, happened):
    asked = compiled(text)
    assume(asked is not None)
    found = domains(asked, SELECTED)

    for node, around in walk(asked.tree):
        part = compiled(source(node, text)) if not around else None
        if part is None:
            continue
        for event in happened:
            verdict = part.matches(event)
            domain = found[id(node)][event.type]
            if verdict == Verdict(matched=True):
                assert not domain.wrong, (source(node, text), event.type, event.data, domain)
                assert domain.kind == "any" or True in (domain.values or ()), (source(node, text), event.data, domain)
            elif verdict == Verdict(matched=False):
                assert not domain.wrong, (source(node, text), event.type, event.data, domain)
                assert domain.kind == "any" or False in (domain.values or ()), (source(node, text), event.data, domain)


PLAIN_ATOMS = st.one_of(
    st.builds("data.{} {} {}".format, st.sampled_from(["fsName", "filesetName"]), st.sampled_from(["==", "!="]), WORDS),
    st.builds("data.{} {} {}".format, st.sampled_from(["blockUsage", "filesUsage"]), SIGNS, st.sampled_from("0123")),
    st.builds("data.waiterLength {} {}".format, SIGNS, COUNTS),
    st.builds("{} in data.diskName".format, WORDS),
    st.builds("data.fsName in [{}, {}]".format, WORDS, WORDS),
    st.builds("has(data.{})".format, st.sampled_from(sorted(VARIABLES))),
    st.builds("data.{} {} null".format, st.sampled_from(sorted(VARIABLES)), st.sampled_from(["==", "!="])),
    st.builds("severity {} {}".format, SIGNS, st.sampled_from(['"info"', '"warning"', '"error"', '"critical"'])),
    st.builds("type == {}".format, st.sampled_from([f'"{each.type}"' for each in TYPES])),
    st.builds("node != {}".format, WORDS),
    st.builds("node in [{}, {}]".format, WORDS, st.sampled_from(['"a"', '"NSD3"'])),
    st.sampled_from(['data.diskName == "nsd3"', 'data.blockUsage == "1"', 'severity == "ERROR"', "data.fsName == 1"]),
    st.sampled_from(['node == "NSD3"', '"a,b" in data.diskName', 'time > "18:00"', 'time == "2026-11-20"']),
)


def _events(number):
    """Return *number* events of each type, with the values that the filters above ask about; always the same."""
    chance = random.Random(1)
    nodes = [["a"], ["b"], ["nsd3"], ["other"], ["a", "b"], [*NAMES]]
    values = {
        "fsName": (*NAMES, "other", None),
        "filesetName": (*NAMES, "other", None),
        "blockUsage": (*NUMBERS, -1, 4, None),
        "filesUsage": (*NUMBERS, -1, 4, None),
        "waiterLength": (-1.0, 0.0, 0.5, 1.0, 1.2, 1.5, 1.7, 2.0, 2.5, 3.0, 7.0, None),
        "diskName": (*nodes, None),
        "eventNode": (*nodes, None),
    }
    for kind in TYPES:
        names = sorted({each.name for each in CATALOGUES["gpfs"].of(kind)} & values.keys())
        for _ in range(number):
            data = {name: chance.choice(values[name]) for name in names if chance.random() > 0.15}
            yield event_of(kind, data, chance.choice((*NAMES, "other")))


@cache
def happened_events():
    return tuple(_events(1000))


@pytest.mark.thorough
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.recursive(PLAIN_ATOMS, _joined, max_leaves=3))
def test_no_accepted_filter_is_the_same_for_every_event(text):
    asked = compiled(text)
    assume(asked is not None and all(each.warning for each in check(asked, SELECTED)))

    answers = (asked.matches(each).matched for each in happened_events())

    first = next(answers)
    assert any(each is not first for each in answers), f"always {first}"


@pytest.mark.long
@pytest.mark.thorough
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.recursive(PLAIN_ATOMS, _joined, max_leaves=3))
def test_a_condition_that_is_called_the_same_for_every_event_is_so(text):
    asked = compiled(text)
    assume(asked is not None)
    whole = [each for each in check(asked, SELECTED) if each.message.startswith(f"{text} is ")]
    assume(whole)

    answers = {asked.matches(each).matched for each in happened_events() if full(each)}

    assert answers == {"true for every event" in whole[0].message}
