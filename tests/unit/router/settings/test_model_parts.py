"""A value that is validated as far as it goes."""

from pydantic import BaseModel, model_validator

from router.settings.model_parts import validated


class Inner(BaseModel, extra="forbid"):
    first: int
    second: int = 0

    @model_validator(mode="after")
    def _ordered(self):
        if self.second < self.first:
            raise ValueError("second is less than first")
        return self


class Outer(BaseModel, extra="forbid"):
    name: str
    inner: dict[str, Inner] = {}


def places(raw):
    left, found = validated(Outer, raw, {"name": "x"})
    return left, {".".join(map(str, place)): each["type"] for place, each in found.items()}


def test_what_is_good_is_the_model_and_has_no_mistakes():
    assert places({"name": "a", "inner": {"b": {"first": 0}}}) == (Outer(name="a", inner={"b": Inner(first=0)}), {})


def test_what_validators_see_only_without_other_mistakes_is_found_too():
    left, found = places({"name": 5, "inner": {"a": {"first": 1, "third": 3}, "b": {"second": "x", "third": 3}}})

    assert left == Outer(name="x")
    assert found == {
        "name": "string_type",
        "inner.a.third": "extra_forbidden",
        "inner.a": "value_error",
        "inner.b.first": "missing",
        "inner.b.second": "int_parsing",
        "inner.b.third": "extra_forbidden",
    }


def test_what_is_no_mapping_or_lacks_a_required_key_is_said_once():
    assert places([]) == (Outer(name="x"), {"": "model_type"})
    assert places({}) == (Outer(name="x"), {"name": "missing"})
