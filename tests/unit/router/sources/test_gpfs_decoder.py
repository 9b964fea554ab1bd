"""What GPFS gives capture, as values: nothing is lost, and nothing raises."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.model.catalogue import Catalogue, load
from router.model.events import Value
from router.sources.arguments import Decoded, escaped
from router.sources.decoders import decode
from router.sources.gpfs.decoder import decode as decode_gpfs

GPFS = load("gpfs")
NAMES = [*GPFS.variables, "site", "eventNode.shortName", "arguments"]
FLAGS = st.sampled_from([f"--{name}" for name in NAMES] + ["--FSNAME", "--", "--1st", "--a b", "-N"])
VALUES = st.sampled_from(
    ["UNDEFINED", "", "%fsName", "%nope", "gpfs1", "12", "n1,n2", "caf\udce9", "-1.5e3", "nan", "07"]
)
ARGUMENTS = st.lists(FLAGS | VALUES | st.text(st.characters(), max_size=8), max_size=16)


def data(*arguments: str) -> dict[str, Value]:
    return decode_gpfs(arguments, GPFS).data


def test_values_have_the_types_of_their_variables() -> None:
    decoded = decode(
        ["--fsName", "gpfs1", "--blockUsage", "1048576", "--waiterLength", "330.5", "--diskName", "nsd01,nsd02"], GPFS
    )

    assert decoded == Decoded(
        {"fsName": "gpfs1", "blockUsage": 1048576, "waiterLength": 330.5, "diskName": ["nsd01", "nsd02"]}
    )


@pytest.mark.parametrize("text", ["UNDEFINED", "", "%reason", "%fsName", "%eventNode.shortName"])
def test_what_does_not_apply_is_null(text: str) -> None:
    assert data("--reason", text, "--fsName", "gpfs1") == {"reason": None, "fsName": "gpfs1"}


def test_a_flag_with_nothing_behind_it_is_null() -> None:
    assert data("--fsName", "--filesetName") == {"fsName": None, "filesetName": None}


def test_a_percent_sign_that_names_no_variable_is_a_value() -> None:
    assert data("--reason", "%done") == {"reason": "%done"}


def test_a_value_that_was_split_is_joined_again() -> None:
    assert data("--quotaOwnerName", "Ann", "Lee", "--fsName", "gpfs1") == {
        "quotaOwnerName": "Ann Lee",
        "fsName": "gpfs1",
    }


def test_a_list_that_is_split_at_blanks_stays_a_list() -> None:
    assert data("--nodeNames", "node4", "node5") == {"nodeNames": ["node4", "node5"]}


def test_flags_are_known_in_any_case() -> None:
    assert data("--FSNAME", "gpfs1") == {"fsName": "gpfs1"}


def test_a_variable_that_nobody_knows_stays_text_under_its_name() -> None:
    assert data("--site", "12", "--fsName", "gpfs1") == {"site": "12", "fsName": "gpfs1"}


def test_a_text_may_quote_a_command_with_options() -> None:
    assert data("--reason", "mmumount", "--force", "failed", "--fsName", "gpfs1") == {
        "reason": "mmumount --force failed",
        "fsName": "gpfs1",
    }


def test_what_comes_before_the_first_flag_is_kept_as_arguments() -> None:
    assert data("lowDiskSpace", "gpfs1", "--fsName", "gpfs1") == {
        "arguments": ["lowDiskSpace", "gpfs1"],
        "fsName": "gpfs1",
    }


def test_of_a_variable_that_comes_twice_the_last_value_counts_and_the_other_is_kept() -> None:
    decoded = data("--fsName", "a", "--blockUsage", "1", "--fsName", "b", "--fsName", "UNDEFINED")

    assert decoded == {"fsName": "b", "blockUsage": 1, "arguments": ["--fsName", "a"]}


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("blockUsage", "lots"),
        ("blockUsage", "9223372036854775808"),
        ("blockUsage", "-9223372036854775809"),
        ("blockUsage", "007"),
        ("blockUsage", "1_000"),
        ("blockUsage", "٣"),
        ("waiterLength", "nan"),
        ("waiterLength", "inf"),
        ("waiterLength", "1e999"),
        ("diskName", "nsd01,,nsd02"),
        ("fsName", "two words"),
    ],
)
def test_a_value_that_does_not_fit_stays_text_and_is_named(flag: str, text: str) -> None:
    assert decode_gpfs([f"--{flag}", text], GPFS) == Decoded({flag: text}, (flag,))


def test_the_largest_and_smallest_integers_fit() -> None:
    assert data("--blockUsage", str(2**63 - 1), "--blockQuota", str(-(2**63))) == {
        "blockUsage": 2**63 - 1,
        "blockQuota": -(2**63),
    }


def test_bytes_that_are_no_utf8_are_written_out_and_named() -> None:
    decoded = decode_gpfs(["caf\udce9", "--quotaOwnerName", "Andr\udce9 \ud800"], GPFS)

    assert decoded.data == {"arguments": ["caf\\xe9"], "quotaOwnerName": "Andr\\xe9 \\ud800"}
    assert set(decoded.malformed) == {"arguments", "quotaOwnerName"}


def test_a_source_that_nobody_knows_gives_plain_pairs() -> None:
    assert decode(["--frame", "12", "--state", "UNDEFINED"], Catalogue("qube")).data == {
        "frame": "12",
        "state": "UNDEFINED",
    }


@given(ARGUMENTS)
@example(["--fsName"] * 3)
@example(["--arguments", "x", "--arguments"])
def test_every_argument_is_found_again(arguments: list[str]) -> None:
    decoded = decode_gpfs(arguments, GPFS)

    kept = list(_texts(decoded.data))
    for each in arguments:
        assert each in ABSENT or _is_flag(each, decoded.data) or any(_holds(text, each) for text in kept), each
    assert set(decoded.malformed) <= decoded.data.keys()


@given(ARGUMENTS)
def test_what_is_decoded_can_be_written_as_json_in_utf8(arguments: list[str]) -> None:
    decoded = decode_gpfs(arguments, GPFS)

    for text in (*_texts(decoded.data), *decoded.data):
        text.encode()


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(GPFS.variables)), st.integers(-(2**63), 2**63 - 1)), unique_by=lambda e: e[0]
    )
)
def test_pairs_come_out_as_pairs(pairs: list[tuple[str, int]]) -> None:
    decoded = data(*(word for name, number in pairs for word in (f"--{name}", str(number))))

    for name, number in pairs:
        value = decoded[name]
        assert (value[0] if isinstance(value, list) else value) in (number, float(number), str(number))


ABSENT = {"", "UNDEFINED", "%fsName"}


def _texts(data: dict[str, Value]) -> Iterator[str]:
    for value in data.values():
        if isinstance(value, list):
            yield from value
            yield ",".join(value)
            yield " ".join(value)
        else:
            yield str(value)


def _holds(text: str, argument: str) -> bool:
    if escaped(argument) in text:
        return True
    try:
        return float(argument) == float(text)
    except ValueError:
        # A list is split at its separator, and blanks around a name are none of it.
        return all(part.strip() in text for part in argument.split(","))


def _is_flag(argument: str, data: dict[str, Value]) -> bool:
    name = argument.removeprefix("--")
    variable = GPFS.variable(name)
    return argument.startswith("--") and (name in data or (variable is not None and variable.name in data))
