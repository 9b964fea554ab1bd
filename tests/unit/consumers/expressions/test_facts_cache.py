"""Facts of the cluster in filters, templates, guards, rehearsals and tests of subscriptions."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from consumers.config.registrations import Registrations
from consumers.deliveries import Delivery, Done, Report, Skipped
from consumers.delivery.active_subscription import ActiveSubscription, Called
from consumers.delivery.threads import workers
from consumers.errors import FilterError, SubscriptionsError, TemplateError
from consumers.expressions.fact_paths import narrowed
from consumers.expressions.facts_cache import FactsCache
from consumers.expressions.filters import Filter, Verdict
from consumers.expressions.templates import Template
from consumers.inspection import test_runner
from consumers.inspection.dry_run import rehearse
from consumers.inspection.test_runner import try_all
from consumers.policies.guards import Guard
from consumers.subscriptions import validation
from consumers.subscriptions.fact_use import asks_for_facts, reads_facts
from consumers.subscriptions.test_cases import Expectation
from consumers.verbs.interface import Handler
from consumers.verbs.notify.message_texts import Messages
from consumers.verbs.notify.verb import NotifyVerb
from router.cluster.facts.assemble import assemble
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.models import unknown
from router.cluster.facts.parts import Answer, Reading
from router.model.catalogue import Catalogues
from router.settings.models import FactsSettings, Settings
from tests.consuming import make_event, make_subscription
from tests.waiting import wait_for

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def content(*, reached=True, nodes=("nsd01", "nsd02"), comment="x"):
    """Return the parts of a cluster whose nodes are all of its quorum."""
    rows = [{"full_name": f"{each}.site.org", "number": at, "quorum": at < 2} for at, each in enumerate(nodes)]
    rows = [{**each, "manager": False, "roles": [], "address": f"10.0.0.{at}"} for at, each in enumerate(rows)]
    states = {str(at): {"name": each, "state": "active" if reached else "down"} for at, each in enumerate(nodes)}
    return {
        "cluster": {"name": "prod.site.org", "id": "1", "nodes": rows},
        "states": {"nodes": states, "needed": 1, "tiebreaker": False},
        "managers": {"cluster": "nsd02", "file_systems": {"gpfs1": "nsd01"}},
        "file_systems": {"gpfs1": {"defaultMountPoint": "/gpfs/one"}},
        "filesets/gpfs1": {"root": {"comment": comment}},
        "node_classes": {},
    }


def known(*, at=NOW, **changed):
    readings = [Reading(part, each, NOW, NOW) for part, each in content(**changed).items()]
    return assemble("prod", readings, timedelta(minutes=5)).at(at)


class Knowing:
    """Knows what a test says."""

    def __init__(self, known):
        self.known, self.begun = known, False

    def of(self, cluster):
        return self.known if cluster == "prod" else unknown(f"not of {cluster}")

    def begin(self):
        self.begun = True


class Doing(Handler):
    """Notes its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, delivery):
        self.calls.append(delivery)
        return Report()

    def plan(self, delivery):
        return {}


@pytest.mark.parametrize(
    "text",
    [
        "facts.nodes[node].quorum == true",
        'facts.nodes["nsd02.site.org"].number == 1',
        "facts.file_systems[data.fsName].manager == node",
        'facts.file_systems["gpfs1"].mount_point == "/gpfs/one"',
        "facts.file_systems.gpfs1.filesets.root.status == null",
        "facts.quorum.reached && facts.quorum.present >= facts.quorum.needed",
        "facts.nodes[facts.manager].name == facts.manager",
        'facts.names["10.0.0.1"] == "nsd02"',
        "node in facts.nodes",
        "data.fsName in facts.file_systems && !(data.fsName in facts.nodes)",
        "facts.nodes.exists(n, n == node)",
        'facts.file_systems.exists(node, facts.file_systems[node].mount_point == "/gpfs/one")',
        "size(facts.nodes) == 2",
        "facts.age == 30.0 && !facts.stale",
        'facts.parts["states"].stale == false',
        "has(facts.nodes[node].state)",
        'facts["quorum"].reached',
        "facts != null",
    ],
)
def test_a_filter_reads_what_is_known(text):
    verdict = Filter(text).matches(make_event(), known(at=NOW + timedelta(seconds=30)))

    assert (verdict.matched, verdict.reason) == (True, "")


@pytest.mark.parametrize("text", ["facts.nodes[node].quorum", "!facts.stale", "facts.age < 60.0"])
def test_what_is_not_known_matches_nothing_and_says_why(text):
    verdict = Filter(text).matches(make_event(), unknown("no facts were read yet: run `clusterbus facts read`"))

    assert not verdict.matched
    assert verdict.reason == "facts are not known: no facts were read yet: run `clusterbus facts read`"


def test_a_missing_part_is_named_where_an_expression_fails_for_it():
    parts = {part: each for part, each in content().items() if part not in {"file_systems", "managers"}}
    readings = [Reading(part, each, NOW, NOW) for part, each in parts.items()]
    readings.append(Reading("file_systems", reason="mmlsfs: ended with 1"))
    lacking = assemble("prod", readings, timedelta(minutes=5)).at(NOW)

    verdict = Filter('facts.file_systems.gpfs1.manager == "x"').matches(make_event(), lacking)

    assert not verdict.matched
    assert "file_systems: mmlsfs: ended with 1" in verdict.reason


def test_more_facts_than_there_is_time_for_match_nothing_and_say_so():
    parts = content() | {"file_systems": {f"fs{each}": {} for each in range(301)}}
    readings = [Reading(part, each, NOW, NOW) for part, each in parts.items()]
    many = assemble("prod", readings, timedelta(minutes=5)).at(NOW)

    verdict = Filter('facts.file_systems.exists(n, facts.file_systems[n].manager == "x")').matches(make_event(), many)

    assert "it reads 301 facts at once, and the limit is 300" in verdict.reason


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("facts.nodes.exists(n, facts.nodes.exists(m, m == n + 'x'))", 300),
        ("facts.nodes.exists(n, facts.nodes[facts.manager].quorum == false && n == 'x')", 200),
        ("data.upNodes.exists(n, n in facts.nodes && n == 'x')", 300),
        ("facts.node_classes.all(n, facts.node_classes.all(m, facts.node_classes[m] == facts.node_classes[n]))", 20),
    ],
)
def test_no_walk_takes_longer_than_the_broker_can_wait(text, most):
    nodes = [f"node{each:04}" for each in range(5000)]
    event = make_event(upNodes=nodes[:most])

    def asked(number):
        classes = {each: [] for each in nodes[: min(number, 200)]}
        parts = content(nodes=nodes[:number]) | {"node_classes": classes, "managers": {"cluster": nodes[0]}}
        many = assemble("prod", [Reading(part, each, NOW, NOW) for part, each in parts.items()], timedelta(minutes=5))
        return Filter(text).matches(event, many.at(NOW)).reason

    assert asked(most) == ""
    assert "values of facts, and the limit is 100000" in asked(5000)


def test_whether_anything_is_down_can_be_asked_of_any_number_of_nodes():
    nodes = [f"node{each:04}" for each in range(5000)]
    parts = content(nodes=nodes, reached=False) | {
        "disks/gpfs1": {"d1": {"availability": "up"}, "d2": {"availability": "down"}, "d3": {"availability": None}}
    }
    facts = assemble("prod", [Reading(part, each, NOW, NOW) for part, each in parts.items()], timedelta(minutes=5))
    delivery = Delivery(make_event(), "s", "t", b"", known=facts.at(NOW))

    assert facts.down == tuple(nodes[:100])
    assert Filter("size(facts.down) > 0 && 'node0007' in facts.down").matches(make_event(), facts.at(NOW)).matched
    assert Filter("facts.down.exists(n, n.startsWith('node'))").matches(make_event(), facts.at(NOW)).matched
    assert Filter("size(facts.down) == 0").matches(make_event(), known()).matched
    assert Filter("facts.file_systems[data.fsName].down == ['d2']").matches(make_event(), facts.at(NOW)).matched
    assert Filter("facts.file_systems[data.fsName].down == null").matches(make_event(), known()).matched
    assert Template("{{ facts.file_systems.gpfs1.down | join(',') }}").render(delivery) == "d2"


@pytest.mark.parametrize(
    "text",
    [
        "facts.file_systems.gpfs1.disks.d1.status",
        "facts.file_systems.gpfs7.disks.d1.status",
        "facts.file_systems.gpfs7.attributes.blockSize",
        "facts.parts['disks/gpfs1'].age",
        "facts.node_classes.io | join(',')",
    ],
)
def test_to_a_template_what_is_not_known_is_null_at_any_depth(text):
    delivery = Delivery(make_event(), "s", "t", b"", known=known())

    assert Template(f"{{{{ {text} | default('?') }}}}").render(delivery) == "?"


def test_the_nodes_of_a_class_can_be_joined_in_a_template():
    parts = content() | {"node_classes": {"io": ["nsd01", "nsd02"]}}
    facts = assemble("prod", [Reading(part, each, NOW, NOW) for part, each in parts.items()], timedelta(minutes=5))
    delivery = Delivery(make_event(), "s", "t", b"", known=facts.at(NOW))

    assert Template("{{ facts.node_classes.io | join(',') }}").render(delivery) == "nsd01,nsd02"


def test_unknown_facts_can_be_asked_for():
    assert Filter("facts == null || facts.quorum.reached").matches(make_event(), unknown("")).matched


def test_only_what_is_read_is_handed_over():
    facts = known(nodes=[f"nsd{each:02}" for each in range(50)]).values
    event = make_event()

    def given(text):
        return narrowed(Filter(text).facts, facts, event)

    assert given("facts.nodes[node].quorum") == {"nodes": {"nsd01": {"quorum": True}}}
    assert given("facts.nodes[node].quorum && facts.nodes[node].state == 'x'")["nodes"]["nsd01"].keys() == {
        "quorum",
        "state",
    }
    assert set(given("node in facts.nodes")["nodes"]) == {"nsd01"}
    assert given("size(facts.nodes) == 50") == {"nodes": dict.fromkeys(facts["nodes"])}
    assert given("facts.file_systems.exists(n, facts.file_systems[n].manager == node)") == {
        "file_systems": {"gpfs1": {"manager": "nsd01"}}
    }
    assert set(given("facts != null").values()) == {None}
    assert Filter("data.fsName == 'facts'").facts == ()


@pytest.mark.parametrize(
    "text",
    [
        'facts.names[data.eventNode[0]] == "nsd02"',
        "facts.names[data.eventNode[0]] == facts.manager",
        'data.eventNode[1] == "nsd01"',
        "data.eventNode.exists(n, facts.names[n] == facts.manager)",
        "data.eventNode.exists(n, facts.nodes[n].quorum)",
        "data.eventNode.all(n, n in facts.names)",
        'facts.node_classes["nsd"].exists(n, facts.nodes[n].name == "nsd02")',
        'facts.nodes[data.eventNode[1]].roles.all(r, r == "quorum")',
        'data.eventNode.filter(n, facts.names[n] == "nsd02").size() == 1',
    ],
)
def test_the_nodes_that_an_event_lists_are_found_in_the_facts(text):
    parts = content() | {"node_classes": {"nsd": ["nsd01", "nsd02"]}}
    facts = assemble("prod", [Reading(part, each, NOW, NOW) for part, each in parts.items()], timedelta(minutes=5))
    happened = make_event(eventNode=["nsd02.site.org", "nsd01"])

    assert Filter(text).matches(happened, facts.at(NOW)) == Verdict(matched=True)


def test_only_the_listed_nodes_are_passed():
    nodes = [f"node{each:04}" for each in range(5000)]
    facts = assemble(
        "prod", [Reading(part, each, NOW, NOW) for part, each in content(nodes=nodes).items()], timedelta(minutes=5)
    ).at(NOW)
    happened = make_event(eventNode=["node0007", "node0009"])
    asked = Filter("data.eventNode.exists(n, facts.names[n] == facts.manager)")

    assert set(narrowed(asked.facts, facts.values, happened)["names"]) == {"node0007", "node0009"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("facts.quorom.reached", "there is no facts.quorom; did you mean quorum?"),
        ("facts.quorum.reachd", "there is no facts.quorum.reachd; did you mean reached?"),
        ("facts.nodes[node].quorom", r"there is no facts.nodes\[...\].quorom; did you mean quorum"),
        ("facts.file_systems[data.fsName].disks.x.pol == 1", "did you mean pool?"),
        ("data.upNodes.exists(facts, facts == 'x')", "give the items of a list another name"),
        ("facts.nodes.exists(n, facts.nodes[n].quorum)", "read facts.nodes by name"),
        ("facts.nodes.all(node, facts.nodes[node].quorum)", "read facts.nodes by name"),
        ("facts.nodes[node + 'x'].quorum", "read facts.nodes by name"),
        ("facts.nodes == {}", "read facts.nodes by name"),
        ("(facts).quorum.reachd", "did you mean reached?"),
        ("facts[data.fsName] == 1", "read facts by name"),
        ("fact.quorum.reached", "unknown name fact; did you mean facts?"),
    ],
)
def test_a_wrong_name_is_a_mistake(text, message):
    with pytest.raises(FilterError, match=message):
        Filter(text)


def test_a_template_is_filled_in_from_facts():
    delivery = Delivery(make_event(), "s", "t", b"", known=known())

    assert Template("{{ facts.file_systems.gpfs1.mount_point }}/x").render(delivery) == "/gpfs/one/x"
    assert Template("{{ facts.nodes['nsd02.site.org'].name }}").render(delivery) == "nsd02"
    assert Template("{{ facts.nodes[node].address | default('?') }}").render(delivery) == "10.0.0.0"
    assert Template("{{ facts.nodes.nsd99.address | default('?') }}").render(delivery) == "?"


def test_a_template_has_its_default_where_nothing_is_known():
    template = Template("{{ facts.file_systems[data.fsName].mount_point | default('/tmp') }}")

    for each in (None, unknown("never")):
        assert template.render(Delivery(make_event(), "s", "t", b"", known=each)) == "/tmp"
    with pytest.raises(TemplateError, match="null"):
        Template("{{ facts.manager }}").render(Delivery(make_event(), "s", "t", b""))


@pytest.mark.parametrize(
    "text",
    [
        "{{ facts.file_systems.gpfs1.filesets.root.comment }}",
        "{{ facts.nodes.__class__ }}",
        "{{ facts.nodes.items }}",
        "{{ facts.nodes[data.fsName]['__init__'] }}",
    ],
)
def test_hostile_names_and_values_reach_nothing(text):
    delivery = Delivery(make_event(fsName="__class__"), "s", "t", b"", known=known(comment="--force"))

    with pytest.raises(TemplateError):
        Template(text).render(delivery)


def test_facts_in_messages_are_on_one_line_and_no_mention():
    verb = NotifyVerb(to=("x",), title="{{ facts.file_systems.gpfs1.filesets.root.comment }}")
    delivery = Delivery(make_event(), "s", "t", b"", known=known(comment="a\n@everyone"))

    title = Messages(verb, Catalogues.shipped()).message(delivery, "text").title

    assert "\n" not in title
    assert "@everyone" not in title


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        (known(), Done()),
        (known(reached=False), "only_when is false: facts.quorum.reached (facts.quorum is {"),
        (unknown("never read"), "only_when cannot be evaluated: facts are not known: never read"),
        (None, "only_when cannot be evaluated: facts are not known"),
    ],
)
def test_a_guard_asks_facts_right_before_the_call(facts, outcome):
    handler = Doing()
    guarded = make_subscription("guarded", ["/bin/true"], guard=Guard(only_when="facts.quorum.reached"))

    got = workers.call(Delivery(make_event(), "guarded", "t", b"", known=facts), handler, guarded, threading.Event())

    if isinstance(outcome, Done):
        assert (got, len(handler.calls)) == (outcome, 1)
    else:
        assert isinstance(got, Skipped)
        assert got.word == "guarded"
        assert got.reason.startswith(outcome)
        assert handler.calls == []


def test_an_active_subscription_gives_facts_to_those_that_read_them_alone():
    knowing, idle = Knowing(known()), Knowing(known())
    manager = {"where": "facts.file_systems[data.fsName].manager == node"}
    reading = make_subscription("reading", ["/bin/echo", "{{ facts.manager }}"], **manager)
    other = make_subscription("other", ["/bin/echo", "{{ data.fsName }}"])
    delivery = Delivery(make_event(), "s", "t", b"")

    served = ActiveSubscription(reading, Called(Doing(), 1), knowing)
    unread = ActiveSubscription(other, Called(Doing(), 1), idle)

    assert served.lets_pass(make_event())
    assert not served.lets_pass(make_event(node="nsd02"))
    assert not served.lets_pass(make_event(cluster="lab"))
    assert served.counts.unevaluated == {"facts are not known: not of lab": 1}
    assert served.with_facts(delivery).known is knowing.known
    assert unread.with_facts(delivery) is delivery
    assert (knowing.begun, idle.begun) == (True, False)
    assert (asks_for_facts(reading), reads_facts(reading), asks_for_facts(other)) == (True, True, False)
    served.close()
    unread.close()


def test_a_rehearsal_says_what_it_knew():
    asked = make_subscription("asked", ["/bin/true"], where="facts.quorum.reached == false")

    by_facts = rehearse(asked, make_event(), lambda _: {}, known())
    without = rehearse(asked, make_event(), lambda _: {}, unknown("never read"))

    assert by_facts.verdict.decision == "filter"
    assert '"reached": true' in by_facts.verdict.because
    assert without.verdict.decision == "unclear"
    assert "facts are not known: never read" in without.verdict.because


FILE = """
version: 1
subscriptions:
  - name: quorum-kept
    on: diskFailure
    where: facts.file_systems[data.fsName].manager == node && facts.nodes["nsd07"].quorum
    guard: {only_when: facts.quorum.reached && !facts.stale}
    run: {command: [/bin/echo, "{{ facts.file_systems.scratch.mount_point or '?' }}"]}
    tests:
      - given: {event: diskFailure, data: {fsName: gpfs1, diskName: d}, node: nsd01}
        facts: &facts
          quorum: {reached: true}
          nodes: {nsd07: {quorum: true}}
          file_systems: {gpfs1: {manager: nsd01}, scratch: {mount_point: /scratch}}
        expect: {effect: {command: [/bin/echo, /scratch]}}
      - given: {event: diskFailure, data: {fsName: gpfs1, diskName: d}, node: nsd02}
        facts: *facts
        expect: not-delivered
      - given: {event: diskFailure, data: {fsName: gpfs1, diskName: d}, node: nsd01}
        expect: not-delivered
"""


def test_subscriptions_that_read_facts_are_checked_and_tried(tmp_path):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE)

    report = validation.check(file, Catalogues.shipped(), try_tests=try_all)

    assert [str(each) for each in (*report.mistakes, *report.faults, *report.warnings)] == []
    assert report.subscriptions is not None


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("!facts.stale", "facts.stal", "guard.only_when: there is no facts.stal; did you mean stale"),
        ("mount_point or", "mount_pint or", "run.command.2: there is no facts.file_systems[...].mount_pint"),
        ('"nsd07"].quorum', '"nsd07"].quorums', "where: there is no facts.nodes[...].quorums"),
        ("quorum: {reached: true}", "quorom: {reached: true}", "there is no facts.quorom"),
        (
            "facts.quorum.reached &&",
            "facts.quorum.reached + 1 &&",
            "guard.only_when: facts.quorum.reached + 1 joins a condition and a whole number",
        ),
    ],
)
def test_check_names_what_is_wrong_with_facts(tmp_path, right, wrong, message):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE.replace(right, wrong, 1))

    with pytest.raises(SubscriptionsError) as caught:
        validation.load(file, Catalogues.shipped())

    assert message in str(caught.value)


def test_a_guard_is_tried_in_tests_as_well():
    guarded = make_subscription("guarded", ["/bin/true"], guard=Guard(only_when="facts.quorum.reached"))
    test = {"given": {"event": "diskFailure"}, "expect": "not-delivered"}

    def tried(*, reached):
        expectation = Expectation.model_validate(test | {"facts": {"quorum": {"reached": reached}}})
        return test_runner.tried(expectation, guarded, Registrations(Catalogues.shipped()), lambda _: {})

    assert tried(reached=False) == ""
    assert tried(reached=True).startswith("expected not-delivered")


@pytest.fixture
def settings(tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "mmlscluster").touch()
    made = Settings(facts=FactsSettings(store=f"sqlite:///{tmp_path / 'facts.db'}", age=timedelta(seconds=1)))
    return made.model_copy(update={"gpfs": made.gpfs.model_copy(update={"commands": commands})})


def written(settings, moment, **changed):
    with FactStore(settings.facts.store) as store:
        store.write("prod", {part: Answer(each) for part, each in content(**changed).items()}, moment)


def test_what_is_in_the_store_is_known_at_once_and_of_its_cluster_only(settings):
    written(settings, NOW)
    facts_cache = FactsCache(settings, clock=lambda: NOW)
    facts_cache.begin()

    assert facts_cache.of("prod").values["manager"] == "nsd02"
    assert facts_cache.of("lab").missing == "facts are known for prod, not for cluster lab"


def test_a_store_that_is_not_there_or_broken_is_nothing_known(settings, tmp_path):
    absent = FactsCache(settings)
    absent.begin()
    (tmp_path / "facts.db").write_text("no database at all, and longer than a header of one" * 20)
    broken = FactsCache(settings)
    broken.begin()

    assert "does not exist: run `clusterbus facts read`" in absent.of("prod").missing
    assert "facts.store" in broken.of("prod").missing


def test_old_facts_are_handed_out_at_once_and_asked_for_in_a_thread(settings):
    written(settings, NOW, reached=False)
    now = NOW + timedelta(seconds=30)
    hanging, asked = threading.Event(), []

    def find(store, _settings, moment):
        asked.append(moment)
        hanging.wait(120)
        store.write("prod", {part: Answer(each) for part, each in content().items()}, moment)

    facts_cache = FactsCache(settings, clock=lambda: now, find=find)
    facts_cache.begin()
    with facts_cache.kept():
        met = facts_cache.of("prod").values
        wait_for(lambda: asked, 10, "the cluster to be asked")
        meanwhile = facts_cache.of("prod").values
        hanging.set()
        wait_for(lambda: facts_cache.of("prod").values["quorum"]["reached"], 10, "fresh facts")

    assert (met["stale"], met["quorum"]["reached"], meanwhile["stale"]) == (True, False, True)
    assert facts_cache.of("prod").values["stale"] is False
    assert asked == [now]


def test_a_failing_reading_neither_ends_the_thread_nor_is_tried_at_each_event(settings):
    moments, asked = [NOW], []

    def find(_store, _settings, moment):
        asked.append(moment)
        raise OSError("no more processes")

    facts_cache = FactsCache(settings, clock=lambda: moments[-1], find=find)
    facts_cache.begin()
    with facts_cache.kept():
        facts_cache.of("prod")
        wait_for(lambda: asked, 10, "a first try")
        for _ in range(100):
            facts_cache.of("prod")
        moments.append(NOW + timedelta(seconds=2))
        wait_for(lambda: facts_cache.of("prod") and len(asked) > 1, 10, "a second try")

    assert asked == moments
    assert "no more processes" in facts_cache.of("prod").missing
