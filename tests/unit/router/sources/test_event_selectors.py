"""From `on` to patterns of topics."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.catalogue import Catalogues, EventType
from router.model.topics import matches, topic
from router.sources.event_selectors import narrow, restricted, select

SHIPPED = Catalogues.shipped()
PATTERNS = st.lists(st.sampled_from(["#", "*", "a", "b"]), min_size=1, max_size=7).map(".".join)
TOPICS = st.lists(st.sampled_from("abc"), min_size=6, max_size=6).map(".".join)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("softQuotaExceeded", ("gpfs.*.quota.softQuotaExceeded.*.*",)),
        ("quota", ("gpfs.*.quota.*.*.*",)),
        ("continuity", ("clusterbus.*.continuity.*.*.*",)),
        ("#", ("#",)),
        ("gpfs.prod.#", ("gpfs.prod.#",)),
        ("#.nsd01", ("#.nsd01",)),
        ("unknown", ("clusterbus.*.unknown.*.*.*", "gpfs.*.unknown.*.*.*", "qube.*.unknown.*.*.*")),
        ("gpfs.*.unknown.#", ("gpfs.*.unknown.#",)),
    ],
)
def test_names_categories_and_patterns_become_the_narrowest_pattern(text: str, patterns: tuple[str, ...]) -> None:
    selected = select(text, SHIPPED)

    assert selected.patterns == patterns
    assert not selected.mistake
    assert not selected.warning


@pytest.mark.parametrize("event_type", SHIPPED.all(), ids=lambda each: each.type)
def test_an_event_type_selects_its_own_topics_and_no_other_types(event_type: EventType) -> None:
    selected = select(event_type.name, SHIPPED)

    topics = {each.type: topic(each.source, "prod", each.category, each.name, "fs", "n1") for each in SHIPPED.all()}
    brought = [each for each in SHIPPED.all() if any(matches(one, topics[each.type]) for one in selected.patterns)]
    assert brought == list(selected.types)
    assert event_type in brought
    assert len({each.name for each in brought}) == 1


@pytest.mark.thorough
@given(st.lists(st.sampled_from(["#", "*", "gpfs", "quota", "mount"]), min_size=2, max_size=7).map(".".join))
def test_a_pattern_selects_exactly_the_types_that_the_broker_could_bring(pattern: str) -> None:
    # The free words of a topic may be anything; the words that are in the pattern, or another, stand for all.
    free = list(itertools.product({*pattern.split("."), "other"} - {"*", "#"}, repeat=3))

    selected = select(pattern, SHIPPED)

    assert list(selected.types) == [
        each
        for each in SHIPPED.all()
        if any(matches(pattern, topic(each.source, c, each.category, each.name, s, n)) for c, s, n in free)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("softQuotaExceded", "did you mean softQuotaExceeded?"),
        ("SOFTQUOTAEXCEEDED", "written as in the catalogue: softQuotaExceeded, not"),
        ("afmprepopend", "written as in the catalogue: afmPrepopEnd, not"),
        ("qouta", "did you mean quota or mount?"),
        ("zzz", "`clusterbus catalogue` shows all"),
        ("", "no event type"),
        ("*", "a topic has six words"),
        ("gpfs.prod", "a topic has six words"),
        ("*.*.*.*.*.*.*", "a topic has six words"),
        ("gpfs.a b.#", "'a b' is not a word"),
        ("gfs.#", "did you mean gpfs?"),
        ("gpfs.*.qouta.#", "did you mean quota"),
        ("gpfs.*.quota.softQuotaExceded.#", "did you mean softQuotaExceeded?"),
    ],
)
def test_what_selects_nothing_is_a_mistake_that_names_the_nearest(text: str, said: str) -> None:
    selected = select(text, SHIPPED)

    assert said in selected.mistake
    assert not selected.patterns


def test_a_word_that_is_both_is_the_event_type_with_a_warning() -> None:
    selected = select("mount", SHIPPED)

    assert selected.patterns == ("gpfs.*.mount.mount.*.*",)
    assert "the category is written gpfs.*.mount.*.*.*" in selected.warning


def test_a_pattern_that_only_unknown_events_could_fit_gets_a_warning() -> None:
    selected = select("gpfs.*.*.softQuotaExceded.#", SHIPPED)

    assert selected.patterns == ("gpfs.*.*.softQuotaExceded.#",)
    assert "did you mean softQuotaExceeded?" in selected.warning


@given(st.lists(PATTERNS, max_size=4), TOPICS)
def test_narrowing_brings_the_same_events(patterns: list[str], subject: str) -> None:
    kept = narrow(patterns)

    assert any(matches(each, subject) for each in kept) == any(matches(each, subject) for each in patterns)
    assert set(kept) <= set(patterns)


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["a.#", "#"], ("#",)),
        (["#", "a.#"], ("#",)),
        (["a.*.*.*.*.*", "a.#"], ("a.*.*.*.*.*",)),
        (["a.#", "a.*.*.*.*.*"], ("a.#",)),
        (["a.#", "b.#", "a.#"], ("a.#", "b.#")),
        (["a.#.b", "a.*.*.*.*.b"], ("a.#.b",)),
        (["#.a.#", "a.#.b"], ("#.a.#",)),
    ],
)
def test_a_pattern_that_another_covers_is_left_out(patterns: list[str], kept: tuple[str, ...]) -> None:
    assert narrow(patterns) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpfs.diskFailure", "a topic has six words; write diskFailure"),
        ("gpfs.quota", "a topic has six words; write gpfs.*.quota.#"),
        ("gpfs.nothing", "a topic has six words"),
        ("qube.diskFailure", "a topic has six words"),
        ("diskFailure.gpfs", "a topic has six words"),
    ],
)
def test_a_source_before_a_name_is_refused_with_what_to_write(text: str, said: str) -> None:
    assert select(text, Catalogues.shipped()).mistake == f"pattern {text!r} can never match: {said}"


def test_alerts_selects_all_changes_of_alerts():
    found = select("alerts", Catalogues.shipped())

    assert found.patterns == ("clusterbus.*.alert.*.*.*",)
    assert {each.category for each in found.types} == {"alert"}
    assert not found.mistake


def test_changes_of_alerts_are_of_every_severity():
    catalogues = Catalogues.shipped()

    assert restricted(["clusterbus.*.alert.#"], catalogues, severity="critical") == tuple(
        f"clusterbus.*.alert.{each.name}.*.*" for each in select("alerts", catalogues).types
    )
