"""How the parameters of a function are filled in, and what is said before an event comes."""

import json
import sys
from datetime import timedelta
from importlib import metadata

import pytest
from pydantic import ValidationError

from consumers import Report
from consumers.deliveries import DeadLetter, Done, Retry
from consumers.policies.retry import attempt
from consumers.subscriptions.models import File, Subscriptions
from consumers.subscriptions.validation import check, load
from consumers.verbs.call.verb import CallVerb
from consumers.verbs.interface import Surroundings
from router.model.catalogue import Catalogues
from router.settings.models import ConsumersSettings, Settings
from tests.consuming import QUICK, make_delivery, make_event

SHIPPED = Catalogues.shipped()

FUNCTIONS = """
import asyncio, functools, sys
from consumers import Rejected, Report

def plain(fsName, blockUsage): return [fsName, blockUsage]
def keywords(*, fsName, blockUsage=0): return [fsName, blockUsage]
def absent(fsName, diskName): return [fsName, diskName]
def default(fsName, diskName="none"): return [fsName, diskName]
def null(blockLimit=5): return blockLimit
def whole(event): return [event.name, event.data["fsName"]]
def given(event, fold, attempt, subscription): return [event.node, fold.count, attempt, subscription]
def rest(fsName, **variables): return [fsName, sorted(variables)]
def fixed(fsName, level, *, text="t"): return [fsName, level, text]
def anything(*args, **variables): return [list(args), sorted(variables)]
def positional(fsName, /): pass
def generator(fsName): yield fsName
def nothing(fsName): return None
def returns_a_set(): return {1}
def returns_much(): return "x" * 100_000
def returns_itself():
    value = []
    value.append(value)
    return value
class Unshowable:
    def __repr__(self): sys.exit(3)
def unshowable(): return Unshowable()
def raising(): raise OSError("disk on fire")
class Nameless(Exception):
    def __str__(self): raise ValueError("no text")
def nameless(): raise Nameless
def leaving(): sys.exit(0)
def interrupting(): raise KeyboardInterrupt
def rejecting(): raise Rejected("no such fileset")
def reporting(): return Report("exit:64", "in vain", {"set": {1}}, blamed=["mail"])
def misreporting(): return Report(failure=5)
def mutable(): return KEPT
def changed(evnt): pass
async def waiting(fsName):
    await asyncio.sleep(0)
    return fsName
class Tickets:
    def __init__(self): self.count = 0
    def opened(self, fsName):
        self.count += 1
        return [fsName, self.count]
    @staticmethod
    def static(fsName): return fsName
    @classmethod
    def of_class(cls, fsName): return [cls.__name__, fsName]
    def __call__(self, fsName): return ["called", fsName]
class Wanting:
    def __init__(self, thing): pass
    def method(self): pass
class Late:
    async def __call__(self, fsName): return fsName
KEPT = [1]
tickets, late = Tickets(), Late()
short = lambda fsName: fsName
part = functools.partial(fixed, level=3)
"""


@pytest.fixture(autouse=True)
def functions(tmp_path, monkeypatch):
    """A module `site_functions` in a folder of the settings, on the import path only if we put it there."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    (folder / "site_functions.py").write_text(FUNCTIONS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "site_functions", raising=False)
    return folder


@pytest.fixture
def settings(functions):
    return Settings(consumers=ConsumersSettings(handlers=(functions,)))


@pytest.fixture
def call(settings):
    """A function that returns the outcome of one attempt to call a function of the module."""

    def called(name, event=None, **fields):
        verb = CallVerb.model_validate({"function": f"site_functions:{name}", **fields})
        return attempt(make_delivery(event or make_event()), verb.handler(Surroundings("a", settings=settings)), QUICK)

    return called


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plain", ["gpfs1", 1048576]),
        ("keywords", ["gpfs1", 1048576]),
        ("absent", ["gpfs1", None]),
        ("default", ["gpfs1", "none"]),
        ("whole", ["softQuotaExceeded", "gpfs1"]),
        ("given", ["nsd01", 1, 1, "a"]),
        ("rest", ["gpfs1", ["blockLimit", "blockUsage"]]),
        ("anything", [[], ["blockLimit", "blockUsage", "fsName"]]),
        ("waiting", "gpfs1"),
        ("late", "gpfs1"),
        ("short", "gpfs1"),
        ("part", ["gpfs1", 3, "t"]),
        ("tickets", ["called", "gpfs1"]),
        ("tickets.opened", ["gpfs1", 1]),
        ("Tickets.opened", ["gpfs1", 1]),
        ("Tickets.static", "gpfs1"),
        ("Tickets.of_class", ["Tickets", "gpfs1"]),
    ],
)
def test_parameters_are_variables_by_their_names(call, name, value):
    assert call(name) == Done({"value": value})


def test_a_variable_that_is_null_is_none_and_not_the_default(call):
    assert call("null") == Done()


def test_fixed_values_come_before_variables(call):
    assert call("fixed", **{"with": {"level": 3, "fsName": "other"}}) == Done({"value": ["other", 3, "t"]})


def test_an_object_is_made_once_for_all_calls_of_its_method(settings):
    handler = CallVerb(function="site_functions:Tickets.opened").handler(Surroundings("a", settings=settings))

    assert [handler(make_delivery(make_event())).result["value"][1] for _ in range(3)] == [1, 2, 3]


def test_what_is_returned_is_kept(call):
    assert call("nothing") == Done()
    assert call("returns_a_set") == Done({"repr": "{1}"})
    assert call("returns_itself") == Done({"repr": "[[...]]"})
    assert len(call("returns_much").result["repr"]) == 65536
    assert call("unshowable") == Done({"repr": "<Unshowable, which cannot be shown: SystemExit>"})


def test_what_is_kept_does_not_change_with_what_was_returned(call):
    outcome = call("mutable")

    sys.modules["site_functions"].KEPT.append(2)

    assert outcome == Done({"value": [1]})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "OSError: disk on fire"),
        ("leaving", "SystemExit: 0"),
        ("interrupting", "KeyboardInterrupt"),
        ("nameless", "Nameless: (has no text)"),
        ("misreporting", "TypeError: failure of the Report must be str, not 5"),
    ],
)
def test_what_a_function_raises_is_a_failure_with_its_place(call, name, reason):
    outcome = call(name)

    assert isinstance(outcome, Retry)
    assert outcome.reason == reason
    if name == "raising":
        assert "site_functions.py:" in outcome.result["trace"]
        assert "in raising" in outcome.result["trace"]


def test_a_delivery_that_is_rejected_is_a_dead_letter_at_once(call):
    assert call("rejecting") == DeadLetter("no such fileset")


def test_a_report_is_honoured(settings):
    handler = CallVerb(function="site_functions:reporting").handler(Surroundings("a", settings=settings))

    report = handler(make_delivery(make_event()))

    assert report == Report("exit:64", "in vain", {"repr": "{'set': {1}}"}, blamed=("mail",))


def test_the_plan_has_the_arguments_and_calls_nothing(settings):
    verb = CallVerb.model_validate({"function": "site_functions:fixed", "with": {"level": 3}})
    event = make_event()

    plan = verb.handler(Surroundings("a", settings=settings)).plan(make_delivery(event))
    whole = CallVerb(function="site_functions:given").handler(Surroundings("a", settings=settings))

    assert plan == {"function": "site_functions:fixed", "arguments": {"fsName": "gpfs1", "level": 3}}
    assert json.loads(json.dumps(whole.plan(make_delivery(event))))["arguments"]["event"]["id"] == event.id


def checked(tmp_path, settings, call, on="softQuotaExceeded"):
    """Return the mistakes and warnings of a subscription, without its place."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - name: a\n    on: {on}\n    call: {call}\n")
    report = check(file, SHIPPED, settings)
    start = f"{file}:5: a: "
    assert all(str(each).startswith(start) for each in (*report.mistakes, *report.warnings))
    return tuple([str(each).removeprefix(start) for each in some] for some in (report.mistakes, report.warnings))


@pytest.mark.parametrize(
    ("call", "mistake"),
    [
        ("site_functions:plian", "call.function: module site_functions has no plian; did you mean plain?"),
        ("site_functions:positional", "call.function: parameter fsName is positional only: remove the /"),
        ("site_functions:generator", "call.function: is a generator, which would not run"),
        ("site_functions:KEPT", "call.function: KEPT of module site_functions is not a function but a list"),
        ("site_functions:changed", "call.function: parameter evnt: no variable evnt; did you mean event?"),
        ("site_functions:absent", "call.function: parameter diskName: softQuotaExceeded cannot have data.diskName"),
        (
            "site_functons:plain",
            "call.function: no module site_functons is installed or in {folder}; did you mean site_",
        ),
        (
            "plain",
            "call.function: no entry point 'plain' in clusterbus.handlers; write a function as module:function",
        ),
        (
            "site_functions.plain",
            "call.function: no entry point 'site_functions.plain' in clusterbus.handlers; did you mean",
        ),
        ('"a b:c"', "call.function: 'a b' is not the name of a module"),
        ('"os:"', "call.function: 'os:' is not a function: write module:function"),
        ("builtins:dict.fromkeys", "call.function: parameter iterable is positional only"),
        ("{function: 5}", 'call.function: must be a text: write it in quotes, "5"'),
        ("{with: {}}", "call.function: is missing"),
        ("", "call.function: is missing"),
        ("{function: site_functions:nothing, isolat: true}", "call.isolat: unknown key; did you mean isolate?"),
        ("{function: site_functions:nothing, wiht: {}}", "call.wiht: unknown key; did you mean with?"),
        ("{function: site_functions:nothing, timeout: 5s}", "call: timeout needs `isolate: true`: a thread"),
        ("{function: site_functions:nothing, memory: 1GiB}", "call: memory needs `isolate: true`"),
        (
            "{function: site_functions:nothing, isolate: true, memory: 1G}",
            "call.memory: '1G' is not an amount of memory",
        ),
        ("{function: site_functions:nothing, isolate: true, memory: 5}", "call.memory: 5 has no unit"),
        ("{function: site_functions:nothing, isolate: true, memory: 1MiB}", "call.memory: 1MiB is not enough"),
        (
            "{function: site_functions:fixed, with: {levle: 3}}",
            "call.with.levle: the function has no parameter levle; did",
        ),
        ("{function: site_functions:given, with: {event: 3}}", "call.with.event: event is set by clusterbus"),
    ],
)
def test_what_cannot_be_called_is_a_mistake(tmp_path, settings, functions, call, mistake):
    mistakes, _ = checked(tmp_path, settings, call)

    assert len(mistakes) == 1
    assert mistakes[0].startswith(mistake.format(folder=functions))


def test_a_module_that_cannot_be_imported_says_where(tmp_path, settings, functions):
    (functions / "site_broken.py").write_text("import os\n1 / 0\n")
    (functions / "site_unreadable.py").write_text("x = (\n")
    (functions / "site_needing.py").write_text("import no_such_module_here\n")
    (functions / "site_leaving.py").write_text("raise SystemExit(1)\n")

    for name, said in {
        "broken": f"ZeroDivisionError: division by zero ({functions}/site_broken.py:2)",
        "unreadable": f"SyntaxError: '(' was never closed ({functions}/site_unreadable.py:1)",
        "needing": f"ModuleNotFoundError: No module named 'no_such_module_here' ({functions}/site_needing.py:1)",
        "leaving": f"SystemExit: 1 ({functions}/site_leaving.py:1)",
    }.items():
        mistakes, _ = checked(tmp_path, settings, f"site_{name}:x")
        assert mistakes == [f"call.function: module site_{name} cannot be imported: {said}"]


def test_a_parameter_that_only_some_event_types_have_is_warned_of(tmp_path, settings):
    mistakes, warnings = checked(tmp_path, settings, "site_functions:absent", "[diskFailure, softQuotaExceeded]")
    fine = checked(tmp_path, settings, "site_functions:default", "[diskFailure, softQuotaExceeded]")

    assert mistakes == []
    message = "softQuotaExceeded cannot have data.diskName, so it gets None; add a default if this is intended"
    assert warnings == [f"call.function: parameter diskName: {message}"]
    assert fine == ([], [])


def test_a_parameter_that_no_registration_passes_is_warned_of_with_the_setting(tmp_path, settings, functions):
    (functions / "site_nodes.py").write_text("def down(downNodes, upNodes=()): pass\n")

    mistakes, warnings = checked(tmp_path, settings, "site_nodes:down", "[nodeLeave]")

    assert mistakes == []
    remedy = "to gpfs.parameters.node, and run `clusterbus callbacks apply`"
    assert warnings == [
        f"call.function: nodeLeave: no registration passes %downNodes, so downNodes is None: add downNodes {remedy}",
        f"call.function: nodeLeave: no registration passes %upNodes, so upNodes has its default: add upNodes {remedy}",
    ]


def test_a_module_that_another_hides_is_warned_of(tmp_path, settings, functions):
    (functions / "string.py").write_text("def capwords(fsName): pass\n")

    _, warnings = checked(tmp_path, settings, "{function: string:capwords, with: {s: a}}")

    assert len(warnings) == 1
    assert f"not from {functions}: rename the one in that folder" in warnings[0]


@pytest.mark.parametrize("more", ["", ", isolate: true"])
def test_a_class_that_needs_arguments_is_a_mistake(tmp_path, settings, more):
    mistakes, _ = checked(tmp_path, settings, f"{{function: site_functions:Wanting.method{more}}}")

    why = "missing a required argument: 'thing'; give defaults to __init__"
    assert mistakes == [f"call.function: Wanting cannot be created to call method: {why}"]


def test_a_handler_that_cannot_be_made_says_so_when_it_is_served(settings):
    verb = CallVerb(function="site_functions:Wanting.method")

    with pytest.raises(Exception, match=r"f.yaml:7: a: call.function: cannot create Wanting to call method"):
        verb.handler(Surroundings("a", settings=settings, file="f.yaml", line=7))


def test_a_folder_that_anybody_may_write_to_is_not_imported_from(tmp_path, settings, functions):
    functions.chmod(0o777)

    mistakes, _ = checked(tmp_path, settings, "site_functions:plain")

    (mistake,) = mistakes
    reason = f"the folder {functions} is writable by other users (it is "
    assert mistake.startswith(f"call.function: in a folder of consumers.handlers, {reason}")
    assert mistake.endswith(f", 0777): run chmod go-w {functions}")


def test_a_module_that_anybody_may_write_to_is_not_imported(tmp_path, settings, functions):
    (functions / "package").mkdir()
    (functions / "package" / "inner.py").write_text("")
    (functions / "package" / "inner.py").chmod(0o666)

    (mistake,) = checked(tmp_path, settings, "site_functions:plain")[0]

    assert f"{functions / 'package' / 'inner.py'} is writable by other users" in mistake


def test_a_file_may_be_named_by_its_path(tmp_path, settings):
    (tmp_path / "fine.py").write_text("def warn(fsName): pass\n")
    (tmp_path / "broken.py").write_text("\n1 / 0\n")

    assert checked(tmp_path, settings, f"{tmp_path}/fine.py:warn") == ([], [])
    assert checked(tmp_path, settings, f"{tmp_path}/broken.py:warn")[0] == [
        f"call.function: {tmp_path}/broken.py:2 cannot be loaded: ZeroDivisionError: division by zero"
    ]
    assert checked(tmp_path, settings, f"{tmp_path}/gone.py:warn")[0] == [
        f"call.function: {tmp_path}/gone.py cannot be read: No such file or directory"
    ]


def test_an_entry_point_is_found_by_its_name(monkeypatch, settings):
    point = metadata.EntryPoint("warn-storage", "site_functions:plain", "clusterbus.handlers")
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints([point]).select(group=group))

    handler = CallVerb(function="warn-storage").handler(Surroundings("a", settings=settings))

    assert handler(make_delivery(make_event())).result == {"value": ["gpfs1", 1048576]}


def test_the_short_form_is_the_long_one(tmp_path, settings):
    (tmp_path / "s.yaml").write_text(
        "version: 1\nsubscriptions:\n"
        "  - {name: a, on: softQuotaExceeded, call: site_functions:plain}\n"
        "  - {name: b, on: softQuotaExceeded, call: {function: site_functions:fixed, with: {level: 3}, isolate: true,"
        " memory: 1GiB, timeout: 5s}}\n"
    )

    found = load(tmp_path / "s.yaml", SHIPPED, settings)
    again = Subscriptions.model_validate_json(found.model_dump_json())

    assert found.by_name["a"].verb == CallVerb(function="site_functions:plain")
    assert again == found
    assert again.digest == found.digest
    assert again.by_name["b"].verb.fixed == {"level": 3}
    assert again.by_name["b"].verb.timeout == timedelta(seconds=5)
    assert again.by_name["b"].verb.memory == 2**30


def test_the_schema_has_both_forms():
    call = File.model_json_schema()["$defs"]["CallVerb"]

    assert [each["type"] for each in call["anyOf"]] == ["string", "object"]
    assert "with" in call["anyOf"][1]["properties"]


def test_fixed_values_have_one_name_only():
    with pytest.raises(ValidationError):
        CallVerb.model_validate({"function": "a:b", "fixed": {}})
