"""Mistakes in subscription files never repeat what may be a secret that stands where it should not."""

import itertools

import pytest
import yaml

from consumers.subscriptions import validation
from router.model.catalogue import Catalogues

SECRET = "hunter22xyz"


TEXTS = [SECRET, f"https://u:{SECRET}@h/?t={SECRET}"]
NESTED = [{"a": {"b": SECRET}}, [[SECRET]], {SECRET: 1}]


# Texts only where a secret may stand: elsewhere they are shown.
@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *itertools.product(["url", "secret", "headers", None], TEXTS + NESTED),
        *itertools.product(["verify", "timeout", "method", "keep", "retry_on"], NESTED),
    ],
)
def test_no_mistake_repeats_what_may_be_a_secret(tmp_path, wrong, field):
    post = {"url": "https://h.example.com/", field: wrong} if field else wrong
    text = yaml.safe_dump({"version": 1, "subscriptions": [{"name": "a", "on": "quota", "post": post}]})
    (tmp_path / "a.yaml").write_text(text)

    report = validation.check(tmp_path / "a.yaml", Catalogues.shipped())

    mistakes = [str(each) for each in report.mistakes]
    assert mistakes
    # The name of a key is no secret; it is told where it is unknown.
    if wrong != {SECRET: 1} or field in {"verify", "timeout", "method", "keep", "retry_on"}:
        assert [each for each in mistakes if SECRET in each] == []


@pytest.mark.parametrize("line", ["*SECRET", "!SECRET x", "!!int SECRET", "SECRET: SECRET", '"SECRET', "[SECRET"])
def test_a_broken_line_is_not_repeated(tmp_path, line):
    post = f"post: {{url: https://h.example.com/, headers: {{Authorization: {line}"
    (tmp_path / "a.yaml").write_text(f"version: 1\nsubscriptions:\n- name: a\n  {post}\n".replace("SECRET", SECRET))

    report = validation.check(tmp_path / "a.yaml", Catalogues.shipped())

    assert report.mistakes
    assert SECRET not in str(report)
