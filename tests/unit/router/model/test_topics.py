"""Topics, ingress keys and patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidTopic
from router.model.topics import LONGEST, IngressKey, check_pattern, matches, topic, word

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5)


TEXTS = st.text(max_size=120) | st.text("ab.-_", max_size=12)


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS | st.none(), TEXTS)
def test_a_topic_has_six_words_whatever_it_is_made_of(
    source: str, cluster: str, category: str, event: str, subject: str | None, node: str
) -> None:
    made = topic(source, cluster, category, event, subject, node)

    assert re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){5}", made)
    assert len(made.encode()) <= LONGEST
    words = [word(each) for each in (source, cluster, category, event, subject, node)]
    assert all(whole.startswith(kept) for whole, kept in zip(words, made.split("."), strict=True))


@given(st.text(max_size=30))
def test_a_word_can_stand_in_a_key(text: str) -> None:
    assert IngressKey.parse(f"gpfs.prod.mount.{word(text)}").node == word(text)


@pytest.mark.parametrize("text", ["", "a.b.c", "a.b.c.d.e", "a.b..d", "a.b.*.d", "a.b.#.d", "a.b.c.d\n", "a.b.c.é"])
def test_a_key_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidTopic, match=r"is not <source>\.<cluster>\.<event>\.<node>"):
        IngressKey.parse(text)


def test_a_key_is_written_as_it_was_read() -> None:
    assert str(IngressKey.parse("gpfs.prod.mount.nsd01")) == "gpfs.prod.mount.nsd01"


@given(PATTERNS, WORDS)
def test_patterns_match_as_the_broker_does(pattern: list[str], words: list[str]) -> None:
    expression = "".join(
        "(?:[^.]+[.])*" if each == "#" else r"[^.]+[.]" if each == "*" else f"{each}[.]" for each in pattern
    )

    assert matches(".".join(pattern), ".".join(words)) == bool(re.fullmatch(expression, ".".join(words) + "."))


@pytest.mark.parametrize("text", ["a b", "gpfs..x", "", "a.b.c.d.e.f.g", "gpfs.quota*"])
def test_a_pattern_that_cannot_match_is_refused(text: str) -> None:
    with pytest.raises(InvalidTopic):
        check_pattern(text)


def test_a_pattern_may_hold_any_number_of_hashes() -> None:
    assert check_pattern("#.a.#.b.#.c.#") == "#.a.#.b.#.c.#"
