"""The parameters of actions: which values they take, where these come from, and what becomes of hostile ones."""

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.errors import Rejected
from consumers.verbs.action.definition_checks import check
from consumers.verbs.action.definitions import Action
from consumers.verbs.action.parameter_values import ParameterValues
from consumers.verbs.action.parameters import Parameter
from consumers.verbs.action.verb import BoundAction
from consumers.verbs.interface import Surroundings
from router.cluster.facts.views import Known
from router.settings.models import Settings
from tests.consuming import make_delivery, make_event
from tests.extremes import TEXTS
from tests.unit.consumers.verbs.test_run import HOSTILE as NO_HOSTS

HOSTILE = [
    "; rm -rf /",
    "$(id)",
    "`id`",
    "-rf",
    "--force",
    "@all",
    "nsd1;nsd2",
    "nsd1:nsd2",
    "a b",
    "a\nb",
    "a\x00b",
    "{{ data }}",
    "../../etc",
    "",
    " ",
    "x" * 256,
    "\u202egpfs",
    "n[1-3]",
    "a|b",
    "a&b",
    "*",
    "~root",
]
REASON = "^(has [0-9]|is a list|'|[0-9-]+ is not between|True is not|the node set is)"
CLASSES = ["all", "nsdNodes", "quorumnodes", "nonQuorumNodes", "managerNodes", "mount", "LinuxNodes", "clientLicense"]

NUMBERS = ["3", "1-20"]


def parameter(type_, **fields):
    return Parameter.model_validate({"type": type_, **fields})


def action(parameters=None, command=("echo", "{{ parameters.x }}"), **fields):
    """Return an action with the parameter `x` from data.fsName, unless others are given."""
    parameters = {"x": {"type": "name", "from": "data.fsName"}} if parameters is None else parameters
    run = {"command": list(command), **fields.pop("run", {})}
    wanted = {"name": "a", "purpose": "Try.", "class": "change", "parameters": parameters, "run": run}
    return Action.model_validate(wanted | fields)


def values(parameters, data=None, with_=None):
    delivery = make_delivery(make_event(data=data or {}, subject=None))
    command = ("echo", *(f"{{{{ parameters.{name} }}}}" for name in parameters))
    return ParameterValues(action(parameters, command), with_ or {}).of(delivery)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("type_", ["name", "names", "node", "nodes", "integer", "size", "choice", "boolean", "path"])
def test_a_hostile_text_is_refused_by_every_type_that_is_not_free_text(type_, text):
    fields = {"of": ["a", "b"]} if type_ == "choice" else {"below": "/srv/policies"} if type_ == "path" else {}
    if (type_, text) == ("nodes", "n[1-3]"):
        return  # a set of three hosts

    with pytest.raises(ValueError, match=REASON):
        parameter(type_, **fields).read(text)


@pytest.mark.parametrize("text", [*NO_HOSTS, *CLASSES, *NUMBERS])
@pytest.mark.parametrize("type_", ["node", "nodes"])
def test_no_group_operator_or_class_of_gpfs_is_a_node(type_, text):
    for value in (text, [text], ["nsd01", text]):
        with pytest.raises(ValueError, match=REASON):
            parameter(type_).read(value)


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        ("name", "gpfs1", "gpfs1"),
        ("name", ["gpfs1"], "gpfs1"),
        ("name", "getty@tty1.service", "getty@tty1.service"),
        ("names", "nsd1, nsd2,nsd1", ["nsd1", "nsd2"]),
        ("names", ["nsd1", "nsd2"], ["nsd1", "nsd2"]),
        ("node", "nsd01.example.com", "nsd01.example.com"),
        ("nodes", "nsd[01-03]", ["nsd01", "nsd02", "nsd03"]),
        ("nodes", ["nsd02", "nsd01"], ["nsd02", "nsd01"]),
        ("integer", "12", 12),
        ("integer", 12, 12),
        ("size", "10t", "10t"),
        ("path", "/srv/x.policy", "/srv/x.policy"),
        ("text", "left; rm -rf /", "left; rm -rf /"),
        ("boolean", "true", True),
        ("boolean", False, False),
    ],
)
def test_what_fits_a_type_is_read(type_, value, read):
    assert parameter(type_).read(value) == read


@pytest.mark.parametrize("items", [["nsd1,nsd2"], ["nsd1;nsd2"], ["nsd1", ""], []])
def test_an_item_of_a_list_never_becomes_two(items):
    with pytest.raises(ValueError, match=REASON):
        parameter("names").read(items)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"type": "integer", "maximum": 10}, 11),
        ({"type": "integer"}, -1),
        ({"type": "integer"}, True),
        ({"type": "text", "longest": 3}, "four"),
        ({"type": "path", "below": "/srv"}, "/srv/../etc/shadow"),
        ({"type": "path", "below": "/srv"}, "/srvx/a"),
        ({"type": "path"}, "/a//b"),
        ({"type": "choice", "of": ["a"]}, "b"),
    ],
)
def test_what_is_out_of_bounds_is_refused(fields, value):
    with pytest.raises(ValueError, match=REASON):
        Parameter.model_validate(fields).read(value)


@given(TEXTS)
def test_whatever_a_name_takes_is_a_word_that_no_program_reads_otherwise(text):
    for type_ in ("name", "names", "node", "nodes"):
        try:
            found = parameter(type_).read(text)
        except ValueError:
            continue
        for each in found if isinstance(found, list) else [found]:
            assert not each.startswith(("-", ".", "@", "+"))
            assert not {*" \t\n;,:|&$`'\"()<>*?[]{}~^!%\\\0"} & {*each}


@given(st.recursive(TEXTS | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_is_read_or_refused(value):
    for type_ in ("name", "names", "node", "nodes", "integer", "size", "path", "text", "boolean"):
        with suppress(ValueError):
            parameter(type_).read(value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "name", "minimum": 1}, "minimum is a key of parameters of type integer"),
        ({"type": "choice"}, "a choice needs its values"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "above maximum"),
        ({"type": "name", "default": "-f"}, "default: '-f' is not a name"),
        ({"type": "name", "from": "fsName"}, "is not an attribute or a variable"),
    ],
)
def test_a_parameter_with_a_mistake_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Parameter.model_validate(fields)


def test_a_value_is_the_one_given_else_that_of_the_event_else_the_default():
    wanted = {
        "given": {"type": "name", "from": "data.fsName"},
        "event": {"type": "names", "from": "data.diskName"},
        "attribute": {"type": "node", "from": "node"},
        "default": {"type": "integer", "from": "data.days", "default": 30},
        "nothing": {"type": "name", "from": "data.filesetName", "optional": True},
    }
    data = {"fsName": "gpfs1", "diskName": ["nsd1", "nsd2"], "filesetName": None}

    found = values(wanted, data, {"given": "{{ data.fsName }}-copy"})

    assert found == {
        "given": "gpfs1-copy",
        "event": ["nsd1", "nsd2"],
        "attribute": "nsd01",
        "default": 30,
    }


@pytest.mark.parametrize("type_", ["node", "nodes"])
def test_no_node_class_of_the_cluster_is_a_node(type_):
    """`mmshutdown -N storage` would shut down all nodes of the class `storage`."""
    wanted = ParameterValues(action({"x": {"type": type_, "from": "data.fsName"}}), {})
    classes = {"storage": ["nsd01", "nsd02"], "cl01": ["cl01"]}
    known = Known({"names": {"cl01": "cl01"}, "node_classes": classes})

    def read(name):
        return wanted.of(replace(make_delivery(make_event(data={"fsName": name})), known=known))["x"]

    for host in ("cl01", "cl02"):
        assert read(host) in (host, [host])
    with pytest.raises(Rejected, match="parameter x of the action a: 'storage' is a node class of this cluster"):
        read("storage")


@pytest.mark.parametrize(("type_", "reads"), [("node", True), ("nodes", True), ("name", False)])
def test_the_facts_are_read_for_an_action_on_nodes(type_, reads):
    wanted = action({"x": {"type": type_, "from": "data.fsName"}}, ("echo", "{{ parameters.x | join }}"))
    verb = BoundAction.model_validate({"name": "a", "definition": wanted})

    assert verb.reads_facts is reads


def test_a_parameter_without_a_value_refuses_the_delivery_and_is_named():
    with pytest.raises(Rejected, match=r"parameter x of the action a: data\.fsName has no value"):
        values({"x": {"type": "name", "from": "data.fsName"}})


def test_a_value_that_does_not_fit_refuses_the_delivery_and_is_named():
    with pytest.raises(Rejected, match=r"parameter x of the action a: '--force' is not a name"):
        values({"x": {"type": "name", "from": "data.fsName"}}, {"fsName": "--force"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ("echo", "{{ data.fsName }}")}, r"reads data\.fsName: an action reads parameters only"),
        ({"command": ("echo", "{{ parameters.y }}", "{{ parameters.x }}")}, "no parameter y"),
        ({"command": ("echo",)}, "is read nowhere"),
        ({"command": ("sh", "-c", "rm {{ parameters.x }}")}, "a value would become code"),
        ({"command": ("ssh", "n1", "bash", "-lc", "rm {{ parameters.x }}")}, "a value would become code"),
        ({"command": ("python3", "-c", "print({{ parameters.x }})")}, "a value would become code"),
        ({"command": ("env", "-S", "rm {{ parameters.x }}")}, "a value would become code"),
        ({"run": {"nodes": "{{ parameters.x }}"}}, "parameter x is no node"),
        ({"parameters": {"x": {"type": "names", "from": "data.diskName"}}}, "the value is a list"),
        ({"parameters": {"x": {"type": "name", "optional": True}}}, "without the optional parameter x"),
        ({"parameters": {"x": {"type": "name", "optional": True, "default": "a"}}}, "is never absent"),
        ({"command": ("echo", "{{ parameters.x }")}, "template"),
    ],
)
def test_what_is_wrong_with_a_definition_is_told(fields, message):
    found = [each.message for each in check(action(**fields)) if not each.warning]

    assert any(re.search(message, each) for each in found), found


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "-c", 'rm -- "$1"', "sh", "{{ parameters.x }}"),
        ("tar", "-c", "{{ parameters.x }}"),
        ("echo", "{% if parameters.x %}{{ parameters.x }}{% endif %}"),
    ],
)
def test_a_value_that_is_a_word_of_its_own_is_no_mistake(command):
    assert [*check(action(command=command))] == []


def served(wanted, settings=None, **with_):
    verb = BoundAction.model_validate({"name": wanted.name, "with": with_, "definition": wanted})
    return verb.handler(Surroundings("a", settings=settings or Settings()))


def text_of(report):
    return "".join(each["text"] for each in report.result["output"])


def test_an_action_runs_its_command_with_the_values():
    handler = served(action(command=("/bin/echo", "{{ parameters.x }}")))

    report = handler(make_delivery())

    assert (report.failure, text_of(report)) == (None, "gpfs1\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_runs_nothing(text, tmp_path):
    ran = tmp_path / "ran"
    handler = served(action(command=("/bin/sh", "-c", f'echo "$1" >{ran}', "sh", "{{ parameters.x }}")))

    with pytest.raises(Rejected, match="parameter x"):
        handler(make_delivery(make_event(data={"fsName": text})))
    assert not ran.exists()


def test_a_free_text_is_one_word_whatever_it_has(tmp_path):
    wanted = action({"x": {"type": "text", "from": "data.fsName"}}, ("/bin/echo", "{{ parameters.x }}"))
    text = "$(touch x); `id` '\" && rm -rf / # {{ data }}"

    report = served(wanted)(make_delivery(make_event(data={"fsName": text})))

    assert text_of(report) == f"{text}\n"


def test_an_action_that_destroys_is_refused_until_the_settings_list_it(tmp_path):
    ran = tmp_path / "ran"
    wanted = action({}, ("/usr/bin/touch", str(ran)), **{"class": "destroy"})

    with pytest.raises(Rejected, match=r"the action a destroys, and the setting consumers\.destroy does not list it"):
        served(wanted)(make_delivery())
    with pytest.raises(Rejected, match=r"consumers\.destroy"):
        served(wanted).plan(make_delivery())
    assert not ran.exists()

    listed = Settings.model_validate({"consumers": {"destroy": ["a"]}})
    assert served(wanted, listed)(make_delivery()).failure is None
    assert ran.exists()


def test_actions_that_destroy_are_asked_for_and_limited_by_default():
    usual = action(**{"class": "destroy"}).defaults
    own = action(**{"class": "destroy", "guard": {"ask": {"within": "1h"}}, "limit": {"most": 1, "per": "1d"}}).defaults

    once = {"count": 1, "per": "action"}
    assert usual["guard"] == {"at_most": once, "ask": {"within": "24h"}}
    assert usual["limit"] == {"most": 4, "per": "1h", "rest": "wait"}
    assert own["guard"] == {"at_most": once, "ask": {"within": "1h"}}
    assert own["limit"] == {"most": 1, "per": "1d", "rest": "wait"}
    assert action().defaults == {}


def test_the_plan_names_the_action_and_its_values():
    plan = served(action(command=("/bin/echo", "{{ parameters.x }}"))).plan(make_delivery())

    assert plan["action"] == "a"
    assert plan["class"] == "change"
    assert plan["parameters"] == {"x": "gpfs1"}
    assert plan["command"] == ["/bin/echo", "gpfs1"]


def test_limits_of_nodes_count_those_that_the_parameters_name():
    wanted = action({"x": {"type": "nodes", "from": "data.eventNode"}}, ("/bin/echo", "{{ parameters.x | join(',') }}"))

    handler = served(wanted)

    assert handler.nodes(make_delivery(make_event(data={"eventNode": ["cl02", "cl01"]}))) == ("cl02", "cl01")
    assert (handler.action, handler.action_class) == ("a", "change")
