"""Plan, apply, plan again: empty and whole, under every setting of what is not known of GPFS."""

import itertools
from typing import get_args

import pytest

from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.model.catalogue import load
from router.settings.models import GpfsSettings
from router.simulator.install import install_capture
from router.simulator.registered_callbacks import is_lacking
from router.simulator.simulated_cluster import Cluster
from router.simulator.switches import Behaviour
from tests.mm_commands import answering

GPFS = load("gpfs")
# GPFS has to be down everywhere for the one that is left out.
OFF = tuple(name for name, each in GPFS.events.items() if not each.default and name != "tiebreakerCheck")
OTHERS = {"lacks": [("diskFailure", "afmRPOMiss", "pdFailed")], "propagation": [3]}
LISTED = ("listing", "rows", "percent", "mixed_scopes")


def settings_of(switch):
    """Return all but the default, which every other case has."""
    field = Behaviour.model_fields[switch]
    return [each for each in OTHERS.get(switch) or get_args(field.annotation) if each != field.default]


ONE = [{switch: value} for switch in Behaviour.model_fields for value in settings_of(switch)]
TOGETHER = [
    dict(zip(LISTED, values, strict=True))
    for values in itertools.product(*(get_args(Behaviour.model_fields[each].annotation) for each in LISTED))
]


def name_of(switches):
    return ",".join(f"{name}={value}" for name, value in switches.items())


def test_every_switch_is_tried():
    assert {name for each in ONE for name in each} == set(Behaviour.model_fields)


@pytest.mark.parametrize("switches", [*ONE, *TOGETHER], ids=name_of)
def test_plan_apply_plan_again_is_empty_and_what_there_is_is_captured(switches, tmp_path):
    behaviour = Behaviour(**switches)
    cluster = Cluster.create(tmp_path / "cluster", nodes=2, behaviour=behaviour)
    install_capture(cluster)
    settings = GpfsSettings(memory=tmp_path / "gpfs.json", events=("default", *OFF), accept=OFF)
    registrar = Registrar(Commands(answering(cluster)), settings, GPFS)

    applied = registrar.apply()

    lacking = {each.name for each in GPFS.events.values() if is_lacking(each, behaviour)}
    captured = {event for each in registrar.registered() for event in each.events}
    assert list(applied.problems) == [
        f"{name}: this GPFS release lacks it: {applied.lacking[name]}" for name in applied.lacking
    ]
    assert registrar.plan().steps == ()
    if behaviour.unknown_events == "refused":
        assert set(applied.lacking) == lacking - {"tiebreakerCheck"}
        assert captured == set(GPFS.events) - lacking - {"tiebreakerCheck"}
