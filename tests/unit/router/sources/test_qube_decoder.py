"""What callbacks in a Qube supervisor write, as values: nothing is lost, and nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.catalogue import load
from router.sources.arguments import Decoded, escaped
from router.sources.decoders import decode

QUBE = load("qube")
NAMES = st.sampled_from(sorted(QUBE.variables))
WORDS = st.text(st.characters(), max_size=8) | st.sampled_from([f"--{name}" for name in QUBE.variables])


def given_values(*arguments: str) -> dict[str, object]:
    return {name: value for name, value in decode(arguments, QUBE).data.items() if value is not None}


def test_values_have_the_types_of_their_variables():
    data = given_values("--id", "19294", "--name", "shot 10", "--cpus", "12", "--hosts", "r1,r2", "--cluster", "/")

    assert data == {"id": 19294, "name": "shot 10", "cpus": 12, "hosts": ["r1", "r2"], "cluster": "/"}


def test_each_variable_that_is_not_given_is_null():
    decoded = decode([], QUBE)

    assert decoded == Decoded(dict.fromkeys(QUBE.variables))


@pytest.mark.parametrize("name", ["--user", "--id", "--", "--nobody", "", "-N", "a --id 3"])
def test_a_job_may_be_called_as_a_flag_is(name):
    decoded = decode(["--id", "19294", "--name", name, "--user", "ann"], QUBE)

    assert (decoded.data["id"], decoded.data["name"], decoded.data["user"]) == (19294, name or None, "ann")
    assert decoded.malformed == ()


@pytest.mark.parametrize(
    ("flag", "text"), [("--id", "07"), ("--priority", "1" * 30), ("--status", "not one"), ("--hosts", "a,,b")]
)
def test_what_does_not_fit_stays_text_and_is_named(flag, text):
    decoded = decode([flag, text], QUBE)

    assert (decoded.data[flag[2:]], decoded.malformed) == (text, (flag[2:],))


def test_bytes_that_were_no_utf8_can_be_seen():
    decoded = decode(["--name", "caf\udce9"], QUBE)

    assert (decoded.data["name"], decoded.malformed) == ("caf\\xe9", ("name",))


def test_what_is_called_by_hand_is_read_as_for_any_source():
    data = given_values("before", "--name", "shot", "10", "--id", "3", "--site", "north")

    assert data == {"name": "shot 10", "id": 3, "site": "north", "arguments": ["before"]}


@given(st.dictionaries(NAMES, WORDS))
def test_whatever_the_values_are_each_comes_out_under_its_own_name(values):
    decoded = decode([word for name, text in values.items() for word in (f"--{name}", text)], QUBE)

    assert set(decoded.data) == set(QUBE.variables)
    for name, text in values.items():
        value = decoded.data[name]
        assert value is None if not text else value == escaped(text) or QUBE.variables[name].value(text) == value


@given(st.lists(WORDS, max_size=12))
def test_any_list_of_texts_is_taken(arguments):
    decode(arguments, QUBE)
