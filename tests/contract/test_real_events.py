"""What `check` calls good acts on the events of this site, or says why not: whatever the site registers.

The events are made as on a node: the simulator fills in the parameters of the registered callbacks, and the router
makes events of what capture got.
"""

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from consumers.config.registrations import Registrations
from consumers.inspection.dry_run import rehearse
from consumers.inspection.test_runner import planner
from consumers.subscriptions.validation import check
from router.cluster.callbacks.gpfs.refusals import Remembered
from router.cluster.callbacks.gpfs.wanted import registrations
from router.model.catalogue import Catalogues
from router.model.ids import NONE
from router.model.records import Record
from router.pipeline.mapping import event_of
from router.settings.models import Settings
from router.simulator.commands.options import callback_of
from router.simulator.events.parameters import arguments
from router.simulator.events.propagation import Occurrence, noticing
from router.simulator.events.variable_values import on_node
from router.simulator.registered_callbacks import check as accepted
from router.simulator.registered_callbacks import to_run
from router.simulator.setup.new_cluster import new_cluster
from router.simulator.switches import Behaviour

CATALOGUES = Catalogues.shipped()
GPFS = CATALOGUES["gpfs"]
EVENTS = [each for each in GPFS.events.values() if each.default]
FAMILIES = sorted({each.category for each in EVENTS})
LISTS = {"nodes", "names"}
QUICK = settings(
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@cache
def cluster(undefined):
    return new_cluster("prod", 4, ["gpfs1"], up=True, behaviour=Behaviour(undefined=undefined))


def callbacks(site, remembered, state):
    """Return *state* with the callbacks that `callbacks apply` would register."""
    parts = [part for each in registrations(GPFS, site.gpfs) for part in remembered.parts(each)]
    taken = [accepted(callback_of(each.arguments()), state, GPFS) for each in parts if each.events]
    lacking = remembered.lacking
    taken = [each.model_copy(update={"events": tuple(e for e in each.events if e not in lacking)}) for each in taken]
    return state.model_copy(update={"callbacks": {each.identifier: each for each in taken}})


def happened(state, event_type, values):
    """Return the event that the router makes when GPFS raises *event_type*, or None if no callback runs."""
    place = None if event_type.scope == "global" and event_type.category != "afm" else "nsd01"
    occurrence = Occurrence(event_type, event_type.name, values, place)
    node = noticing(state, occurrence)[0]
    ran = to_run(state, event_type.name, node)
    if not ran:
        return None
    [callback] = ran
    name, *rest = arguments(callback.parms, on_node(state, GPFS, occurrence, node), state.behaviour)
    moment = "2026-11-20T12:00:00.000000000Z"
    fields = {"cluster": "prod", "node": node.name, "captured_at": moment, "boot": "", "epoch": NONE, "sequence": 1}
    return event_of(Record(id=NONE, source="gpfs", event=name, arguments=tuple(rest), **fields), event_type, GPFS)


def printed(variable, form):
    joined = " | join(',')" if variable.type in LISTS else ""
    return {
        "plain": f"{{{{ data.{variable.name}{joined} }}}}",
        "or": f"{{{{ data.{variable.name}{joined or ''} if data.{variable.name} else 'none' }}}}",
        "default": f"{{{{ data.{variable.name} | default('none'){joined} }}}}",
    }[form]


def asked(variable, form):
    name = f"data.{variable.name}"
    compared = {"integer": f"{name} > 5", "number": f"{name} > 5.0", "nodes": f"size({name}) > 0"}
    compared["names"] = compared["nodes"]
    plain = compared.get(variable.type, f'{name}.startsWith("x")')
    return {"plain": plain, "has": f"has({name}) && {plain}", "null": f"has({name}) && {name} != null && {plain}"}[form]


@st.composite
def sites(draw):
    """The settings of a site, and what GPFS refused there."""
    common = st.sampled_from([*GPFS.common[1:]])
    gpfs = {
        "without": draw(st.lists(st.sampled_from([*FAMILIES, "%reason", "%eventNode", "%fsName"]), max_size=2)),
        "parameters": draw(st.dictionaries(st.sampled_from(FAMILIES), st.lists(common, max_size=2), max_size=3)),
    }
    events = [each.name for each in EVENTS]
    remembered = Remembered(
        split=frozenset(f"clusterbus-{each}" for each in draw(st.lists(st.sampled_from(FAMILIES), max_size=3))),
        lacking=dict.fromkeys(draw(st.lists(st.sampled_from(events), max_size=3)), "no such event"),
    )
    return gpfs, remembered


@st.composite
def subscriptions(draw):
    """The types of a subscription, and the text of one that reads some of their variables, or others."""
    types = draw(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=2, unique_by=lambda each: each.name))
    theirs = [variable for each in types for variable in GPFS.of(each)]
    names = st.sampled_from(theirs)
    words = [
        printed(draw(names), draw(st.sampled_from(["plain", "or", "default"]))) for _ in range(draw(st.integers(0, 2)))
    ]
    where = asked(draw(names), draw(st.sampled_from(["plain", "has", "null"]))) if draw(st.booleans()) else ""
    command = ", ".join(f'"{each}"' for each in ("/bin/echo", "x", *words))
    lines = [
        "version: 1",
        "subscriptions:",
        "  - name: one",
        f"    on: [{', '.join(each.name for each in types)}]",
        f"    run: {{command: [{command}]}}",
        *([f"    where: '{where}'"] if where else []),
    ]
    return types, "\n".join(lines)


@pytest.mark.long
@given(site=sites(), wanted=subscriptions(), data=st.data())
@settings(QUICK, max_examples=150)
def test_what_is_called_good_acts_on_a_real_event_or_the_check_says_why_not(site, wanted, data):
    gpfs, remembered = site
    types, text = wanted
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "gpfs.json"
        memory.write_text(remembered.model_dump_json())
        setting = Settings.model_validate(
            {"gpfs": {**gpfs, "memory": memory}, "consumers": {"callbacks": f"{folder}/none"}}
        )
        file = Path(folder) / "subscriptions.yaml"
        file.write_text(text)
        report = check(file, CATALOGUES, setting)
    state = callbacks(setting, remembered, cluster(data.draw(st.sampled_from(["word", "empty", "literal"]))))
    for each in types:
        own = [name for name in each.variables if name not in GPFS.common]
        absent = data.draw(st.sets(st.sampled_from(each.optional))) if each.optional else set()
        values = {name: GPFS.variables[name].example for name in own if name not in absent}
        values |= {name: GPFS.variables[name].example for name in ("eventNode",) if name in each.variables}
        real = happened(state, each, values)

        told = " ".join(mistake.message for mistake in (*report.mistakes, *report.faults, *report.warnings))
        if real is None:
            assert len(types) > 1 or "no such event comes" in told, told
            continue
        for name in GPFS.common:
            if f"does not pass %{name}" in told and len(types) == 1:
                assert name not in real.data
        if report.subscriptions is None:
            event("refused")
            continue
        [subscription] = report.subscriptions.subscriptions
        with planner(subscription, setting) as plan:
            found = rehearse(subscription, real, plan)
        event(found.verdict.decision if not found.refused else "rejected")
        if found.refused or found.verdict.decision == "unclear":
            missing = [name for name in GPFS.variables if real.data.get(name) is None and f"data.{name}" in told]
            assert missing, (found, told)
        else:
            assert found.effect or found.verdict.decision == "filter"


@given(site=sites(), data=st.data())
@settings(QUICK, max_examples=60)
def test_a_sample_has_exactly_the_variables_of_a_real_event(site, data):
    from consumers.config.event_samples import Samples  # noqa: PLC0415 - only here

    gpfs, remembered = site
    setting = Settings.model_validate({"gpfs": gpfs})
    event_type = data.draw(st.sampled_from(EVENTS))
    state = callbacks(setting, remembered, cluster("word"))
    own = {name: GPFS.variables[name].example for name in event_type.variables if name != "eventName"}

    real = happened(state, event_type, own)

    kind = Samples(Registrations(CATALOGUES, setting, remembered)).of(event_type)
    assume(real is not None)
    assert kind.is_registered
    for variant in kind.variants:
        assert [*variant.data] == [*real.data]
    assert kind.variants[0].subject == real.subject
    assert {name for name, value in real.data.items() if value is not None} <= {
        name for name, value in kind.variants[0].data.items() if value is not None
    }


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("on: nodeLeave, run: {command: [/bin/echo, \"{{ data.downNodes | join(',') }}\"]}", "gpfs.parameters.node"),
        ("on: diskFailure, where: size(data.quorumNodes) > 2, log: {}", "gpfs.parameters.disk"),
        ("on: mount, order_by: data.upNodes, run: {command: [/bin/true]}", "gpfs.parameters.mount"),
    ],
)
def test_check_fails_where_a_subscription_reads_what_no_registration_passes_and_names_the_setting(
    tmp_path, entry, expected
):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {{name: one, {entry}}}\n")

    report = check(file, CATALOGUES)
    [fault] = report.faults
    family = expected.rpartition(".")[2]
    passing = Settings.model_validate({"gpfs": {"parameters": {family: ["downNodes", "quorumNodes", "upNodes"]}}})

    assert "does not pass %" in fault.message
    assert expected in fault.message
    assert report.mistakes == check(file, CATALOGUES, passing).mistakes == ()
    assert check(file, CATALOGUES, passing).faults == ()
