"""Records as services publish them."""

import pytest

from router.model import ids
from router.model.catalogue import Catalogue
from router.model.records import Provenance, parse
from router.services import producer
from router.sources.decoders import decode

USER = "clusterbus-svc-jobs"


def record(id_="", **variables):
    return producer.record("slurm", "jobFailed", variables, cluster="prod", node=USER, id_=id_)


def test_the_router_reads_what_a_producer_writes():
    found = record(jobId=42, share=0.5, isLast=True, nodes=["n1", "n2"], nothing=None, name="a b")

    message = producer.message(found)
    read = parse(message.body, Provenance(message.key, USER, {}))

    assert message.key == f"slurm.prod.jobFailed.{USER}"
    assert read == found
    assert decode(read.arguments, Catalogue("slurm")).data == {
        "jobId": "42",
        "share": "0.5",
        "isLast": "true",
        "nodes": "n1,n2",
        "name": "a b",
    }


@pytest.mark.parametrize("value", ["--owner", "--jobId", "-- x", "--", "--a.b"])
def test_no_value_becomes_another_variable(value):
    data = decode(record(name=value, owner="anna").arguments, Catalogue("slurm")).data

    assert {name: str(text).strip() for name, text in data.items()} == {"name": value, "owner": "anna"}


def test_a_record_with_an_id_is_the_same_whenever_it_is_made():
    id_ = ids.new_id()

    assert record(id_, jobId=1) == record(id_, jobId=1)
    assert record(jobId=1) != record(jobId=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: record("x"), "is not the id of an event"),
        (lambda: record(nodes=["a,b"]), "no text of a list may have a comma"),
        (lambda: record(text="x" * 2**21), "at most"),
    ],
)
def test_what_cannot_be_published_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("text", [chr(0xD800), chr(0xDCFF), chr(0xDC80) + chr(0xD800)], ids=ascii)
def test_half_a_surrogate_pair_is_published_as_a_record_that_can_be_read(text):
    message = producer.message(record(**{text: text}))

    assert parse(message.body, Provenance(message.key, USER, {})).event == "jobFailed"
