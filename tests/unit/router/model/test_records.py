"""Records are believed only as far as the broker vouches for them."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejection
from router.model.bounds import MESSAGE
from router.model.records import Provenance, Record, encode, parse
from tests.nodes import Node, Sent


def read(sent: Sent, trusted: tuple[str, ...] = ()) -> Record:
    return parse(sent.body, Provenance(sent.key, sent.user, sent.headers), trusted)


@pytest.fixture
def sent() -> Sent:
    return Node("nsd01", epoch="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB").record("mount", "--fsName", "gpfs1")


def test_a_record_has_what_the_body_the_key_and_the_headers_say(sent: Sent) -> None:
    record = read(sent)

    assert (record.id, record.source, record.cluster, record.event) == (sent.id, "gpfs", "prod", "mount")
    assert (record.node, record.arguments) == ("nsd01", ("--fsName", "gpfs1"))
    assert (record.epoch, record.sequence) == ("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", 1)


def test_another_nodes_user_is_not_believed(sent: Sent) -> None:
    with pytest.raises(Rejection, match="user 'nsd02' published as node 'nsd01'"):
        read(sent.but(user="nsd02"))


def test_a_user_that_the_broker_does_not_vouch_for_is_not_believed(sent: Sent) -> None:
    with pytest.raises(Rejection, match="no validated user"):
        read(sent.but(user=None))


def test_another_node_in_the_body_is_not_believed(sent: Sent) -> None:
    with pytest.raises(Rejection, match="the body says node 'nsd02', the key 'nsd01'"):
        read(sent.saying(node="nsd02"))


@pytest.mark.parametrize("field", ["source", "event"])
def test_a_body_that_says_otherwise_than_the_key_is_not_believed(sent: Sent, field: str) -> None:
    with pytest.raises(Rejection, match=f"the body says {field} 'other'"):
        read(sent.saying(**{field: "other"}))


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_a_second_key_is_not_believed(sent: Sent, header: str) -> None:
    with pytest.raises(Rejection, match="one key"):
        read(sent.but(headers=sent.headers | {header: ["gpfs.prod.mount.nsd02"]}))


def test_a_trusted_user_speaks_for_any_node(sent: Sent) -> None:
    assert read(sent.but(user="operator"), trusted=("operator",)).node == "nsd01"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "record version 2 is not 1"),
        ({"id": "01KAG"}, "field 'id'"),
        ({"id": "7" + "Z" * 25}, "field 'id'"),
        ({"captured_at": "yesterday"}, "field 'captured_at'"),
        ({"captured_at": "2026-13-01T00:00:00.000000000Z"}, "field 'captured_at' is not a moment"),
        ({"captured_at": "２０２６-11-20T15:22:07.980656123Z"}, "field 'captured_at'"),
        ({"boot": None}, "field 'boot'"),
        ({"arguments": "--fsName"}, "field 'arguments'"),
        ({"arguments": ["a", 1]}, "field 'arguments'"),
        ({"cut": {"bytes": "many"}}, "field 'cut'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_a_body_of_another_shape_is_rejected_with_the_field(sent: Sent, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        read(sent.saying(**change))


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000])
def test_a_body_that_is_no_json_object_is_rejected(sent: Sent, body: bytes) -> None:
    with pytest.raises(Rejection, match="the body"):
        read(sent.but(body=body))


def test_a_body_that_is_larger_than_any_record_is_rejected_unread(sent: Sent) -> None:
    with pytest.raises(Rejection, match=f"the limit is {MESSAGE}"):
        read(sent.but(body=b" " * (MESSAGE + 1)))


@pytest.mark.parametrize("sequence", [-1, 2**63, True, "7", None, 1.5])
def test_a_number_that_is_none_is_left_out(sent: Sent, sequence: object) -> None:
    assert read(sent.but(headers={"sequence": sequence, "epoch": 3})).sequence is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["v", "id", "source", "event", "node", "captured_at", "boot", "arguments", "cut", "x"]), JSON)
def test_any_value_in_any_field_gives_a_record_or_a_rejection(field: str, value: object) -> None:
    with suppress(Rejection):
        assert isinstance(read(Node("nsd01").record("mount").saying(**{field: value})), Record)


@given(st.binary(max_size=200))
def test_random_bytes_are_rejected(body: bytes) -> None:
    with pytest.raises(Rejection):
        read(Node("nsd01").record("mount").but(body=body))


def test_a_record_is_written_as_it_is_read(sent: Sent) -> None:
    assert json.loads(encode(read(sent))) == json.loads(sent.body)
