"""`consume --once`, `--drain` and `--only`: what there is is handled, then the consumer ends and its code says how."""

import pytest

from router.broker.topology import queue_of
from tests.consuming import make_event, publish
from tests.operating import Program

SITE = """\
version: 1
subscriptions:
  - name: act
    on: quota
    run: {command: [ls, "{{ data.fsName }}"], timeout: 20s}
    retry: {attempts: 2, first: 15s}
  - {name: other, on: quota, log: {}}
  - {name: idle, on: quota, log: {}, mode: "off"}
"""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(vhost_url, tmp_path, database):
    """A site whose queues are there, without a consumer that runs."""
    with Program(vhost_url, tmp_path, SITE, store=database("store")) as program:
        program.command("consume", "--once")
        yield program


def outcomes(site, **filters):
    return sorted((row.outcome for row in site.rows(**filters)), key=str)


@pytest.mark.long
def test_with_empty_queues_it_ends_at_once(site):
    site.command("consume", "--drain")

    assert site.rows() == []


@pytest.mark.long
def test_what_waits_in_the_queues_is_handled_then_it_ends(site, vhost_url, tap):
    publish(vhost_url, [make_event(fsName="/") for _ in range(50)])
    site.command("consume", "--once")

    assert outcomes(site) == ["done"] * 100
    assert tap.count(queue_of("act")) == tap.count(queue_of("other")) == 0
    assert tap.count(queue_of("idle")) == 50


@pytest.mark.long
def test_once_leaves_retries_and_drain_waits_for_them_and_says_that_letters_are_left(site, vhost_url):
    publish(vhost_url, [make_event(fsName="/no/such/file")])
    site.command("consume", "--once", "--only", "act")
    first = outcomes(site)
    site.command("consume", "--drain", code=1)

    assert first == ["retry"]
    assert outcomes(site, subscription="act") == ["dead", "retry"]
    assert [each["reason"] for each in site.command("dead", "list", "--json")] != []


@pytest.mark.long
def test_only_some_are_served_and_the_queues_of_others_are_left_alone(site, vhost_url, tap):
    publish(vhost_url, [make_event(fsName="/")])
    site.command("consume", "--once", "--only", "other")
    assert outcomes(site) == ["done"]
    assert (tap.count(queue_of("other")), tap.count(queue_of("act"))) == (0, 1)

    site.command("consume", "--once", "--only", "othr", code=2)
    site.command("consume", "--once", "--only", "act", "--only", "other")
    assert outcomes(site, subscription="act") == ["done"]


@pytest.mark.long
def test_what_takes_too_long_is_left_with_a_code_of_its_own(site, vhost_url, tap):
    site.replace(SITE.replace('[ls, "{{ data.fsName }}"]', "[sleep, '15']"))
    publish(vhost_url, [make_event() for _ in range(4)])
    site.command("consume", "--drain", "--within", "3s", "--only", "act", code=3)

    assert outcomes(site, subscription="act").count("done") < 4


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [["--once", "--drain"], ["--within", "1m"], ["--drain", "--within", "x"], ["--dry-run", "--once"]]
)
def test_options_that_make_no_sense_are_refused(site, words):
    site.command("consume", *words, code=2)
