"""`Callback` over the simulator: the seed's examples, what is refused, and changes that are killed."""

import doctest
from datetime import timedelta
from pathlib import Path
from time import localtime, strftime

import pytest

from consumers import gpfs
from consumers.deliveries import Delivery
from consumers.gpfs import (
    Callback,
    CallbackError,
    Cluster,
    Fileset,
    Filesystem,
    Invalid,
    Node,
    NotThere,
    Snapshot,
    UnknownKeyword,
    getCmdCache,
    setDryRun,
)
from consumers.gpfs.callback_rules import Rules
from consumers.gpfs.functions.storage import Folder
from consumers.gpfs.site import site
from consumers.gpfs.this_node import here
from consumers.subscriptions import validation
from consumers.verbs.call.arguments import Arguments
from consumers.verbs.call.references import Target
from router.cluster.callbacks.gpfs.installed import read
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs import cluster_nodes
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed
from router.model.catalogue import Catalogues, load
from router.settings.models import ConsumersSettings, GpfsSettings, Settings
from router.simulator.install import install_capture
from router.simulator.simulated_cluster import Cluster as Simulated
from tests.consuming import make_event
from tests.mm_commands import answering

PAGE = Path(gpfs.__file__).with_name("README.md")
SCRIPT = "/tmp/myscript.sh"
# The seed's own path; put together, since no file of the project holds a home.
NOTIFY = "/" + "home/auser/callbacks/notify.sh"


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture
def simulated(tmp_path):
    cluster = Simulated.create(tmp_path / "cluster", nodes=6, file_systems=("mmfs1", "mmfs2"))
    install_capture(cluster)
    for node in cluster.nodes:
        node.install(SCRIPT, "#!/bin/sh\n")
        node.install(NOTIFY, "#!/bin/sh\n")
    return cluster


@pytest.fixture
def settings(tmp_path):
    return Settings(
        gpfs=GpfsSettings(memory=tmp_path / "gpfs.json", events=("disk",)),
        consumers=ConsumersSettings(callbacks=tmp_path / "callbacks", subscriptions=tmp_path / "none.yaml"),
    )


def work_on(commands, settings):
    """Work on *commands*; that nodes have the shim is for other tests."""
    gpfs.use(commands, settings, asker=Registrar(commands, settings.gpfs, load("gpfs")), host="nsd01")


@pytest.fixture(autouse=True)
def commands(simulated, settings):
    commands = Commands(answering(simulated))
    work_on(commands, settings)
    return commands


@pytest.fixture
def registered(commands):
    """A function that returns what is registered, capture's own left out, by identifier."""
    return lambda: {each.identifier: each for each in read(commands) if not each.identifier.startswith("clusterbus-")}


@pytest.fixture
def served(settings, tmp_path):
    """A function that returns the subscriptions that a consumer would serve."""
    (tmp_path / "own.yaml").write_text("version: 1\nsubscriptions: []\n")

    def read_all():
        report = validation.check([tmp_path / "own.yaml"], Catalogues.shipped(), settings)
        assert (report.mistakes, report.faults, report.warnings) == ((), (), ())
        return report.subscriptions.by_name

    return read_all


def logger(eventNode):  # noqa: N803 - the seed's example
    with open("/tmp/shutdown.log", "a") as log:  # noqa: PTH123 - the seed's example
        out = "{0} shutdown as {1}\n".format(eventNode, strftime("%H:%M:%S, %a %d %b %Y", localtime()))  # noqa: UP030 - idem
        log.write(out)
    return out


def handler():
    with open("/tmp/logfile", "a") as f:  # noqa: PTH123 - the seed's example
        f.write("Filesystem mounted")


def message(msg):
    return msg


def sizes(fsName, nothing):  # noqa: N803 - a variable's name
    return fsName, nothing


def test_the_page_does_what_it_shows(simulated, commands):
    for name in ("global-snapshot1", "snap_test"):
        commands.change("mmcrsnapshot", "mmfs1", name)
    # As typed into a program: the name is part of the identifier that is made.
    tests = doctest.DocTestParser().get_doctest(PAGE.read_text(), {"__name__": "__main__"}, PAGE.name, str(PAGE), 0)
    said: list[str] = []

    results = doctest.DocTestRunner(verbose=False).run(tests, out=said.append)

    assert results.failed == 0, "".join(said)
    assert results.attempted > 20


def test_a_callback_is_created_as_the_seed_does(commands, registered):
    mycallback = Callback("test1", "/tmp/myscript.sh", "startup")
    mycallback.create()

    assert commands.recorded == ["mmaddcallback test1 --command /tmp/myscript.sh --event startup"]
    assert registered()["test1"].events == ("startup",)


def test_a_callback_on_this_node_is_created_as_the_seed_does(registered):
    local = Node("localhost")
    local.onShutdown.new(NOTIFY, callbackId="local_sd", params=["%eventNode"])

    found = registered()["local_sd"]
    assert (found.command, found.nodes, found.parms) == (NOTIFY, ("nsd01",), "%eventNode")
    assert Node("localhost").onShutdown.keys() == ["local_sd"]
    assert len(Node("nsd02").onShutdown) == 0


def test_a_function_becomes_a_subscription_and_capture_is_registered_once(commands, registered, served, settings):
    callback = Cluster().onShutdown.new(logger)
    Cluster().onStartup.new(logger)

    assert registered() == {}
    captures = [each for each in commands.recorded if each.startswith("mmaddcallback clusterbus-daemon ")]
    assert len(captures) == 1
    there = served()[f"callback-{callback.id}"]
    assert there.patterns == ("gpfs.*.daemon.shutdown.*.*",)
    assert there.verb.function.endswith(f"{callback.id}.py:logger")
    assert callback.script == str(settings.gpfs.command)
    assert Callback(callback.id).function("n1").startswith("n1 shutdown as ")


def test_the_files_of_a_function_are_its_owners_alone_to_write(settings):
    Cluster().onShutdown.new(logger)

    modes = {each.suffix: oct(each.stat().st_mode & 0o777) for each in settings.consumers.callbacks.glob("[!.]*")}
    assert modes == {".py": "0o644", ".yaml": "0o644"}


def test_a_handler_of_a_file_system_gets_only_its_events(served):
    Cluster().filesystems["mmfs1"].onMount.new(handler)

    (there,) = served().values()
    assert there.where == 'data.fsName == "mmfs1"'
    assert len(Filesystem("mmfs1").onMount) == 1
    assert len(Filesystem("mmfs2").onMount) == 0


def test_several_handlers_of_one_event_are_all_subscribed(served):
    Cluster().filesystems["mmfs1"].onMount.new(handler)
    Cluster().filesystems["mmfs1"].onMount.new(message, params=["%fsName"])
    again = Cluster().filesystems["mmfs1"].onMount.new(handler)

    assert len(served()) == 2
    Cluster().onMount.destroy(again)
    assert len(served()) == 1


def test_parms_are_the_parameters_of_a_function_in_turn(served):
    callback = Callback(command=message, parm=["%eventNode"], event="startup")
    callback.create()

    (there,) = served().values()
    assert there.verb.parms == ("%eventNode",)
    assert (callback.parms, Callback(callback.id).parms) == (["%eventNode"], ["%eventNode"])


def test_a_function_gets_its_parms_in_turn_and_lists_as_one_text():
    target = Target(sizes, None)
    delivery = Delivery(make_event(upNodes=["n1", "n2"]), "s", "t", b"")

    arguments = Arguments(target, {}, ("literal", "%upNodes"), joined=True)(delivery)

    assert arguments == {"fsName": "literal", "nothing": "n1,n2"}


def test_a_function_of_a_node_gets_what_happens_there_and_global_events_all_the_same(served):
    Callback("local", message, "mount", node="cl01", parms="%fsName").create()
    Callback("global", message, "nodeLeave", node="cl01", parms="%eventNode").create()
    Callback("both", message, ["nodeLeave", "mount"], node=Node("cl01"), parms="%eventNode").create()

    there = served()
    assert there["callback-local"].where == 'node in ["cl01"]'
    assert there["callback-global"].where is None
    assert there["callback-both"].where == '(scope == "global" || node in ["cl01"])'


def test_a_function_is_changed_and_deleted_with_all_that_is_of_it(served, settings):
    Callback("f1", message, "mount", parms="%fsName").create()

    Callback("f1").add(events="startup")
    Callback("f1").change(parms=["%eventNode"], nodes=["cl01", "cl02"])
    changed = served()["callback-f1"]
    Callback("f1").delete()

    assert changed.patterns == ("gpfs.*.mount.mount.*.*", "gpfs.*.daemon.startup.*.*")
    assert (changed.where, changed.verb.parms) == ('node in ["cl01", "cl02"]', ("%eventNode",))
    assert served() == {}
    assert [each.name for each in settings.consumers.callbacks.iterdir()] == [".lock"]
    with pytest.raises(NotThere, match="no callback 'f1'"):
        Callback("f1")


def test_a_dry_run_deletes_no_snapshot_and_says_what_would_be(commands):
    for name in ("global-snapshot1", "snap_test"):
        commands.change("mmcrsnapshot", "mmfs1", name)
    setDryRun(True)

    fs = Filesystem("mmfs1")
    for s in fs.snapshots.values():
        s.delete()

    assert getCmdCache() == ["mmdelsnapshot mmfs1 global-snapshot1", "mmdelsnapshot mmfs1 snap_test"]
    assert str(Filesystem("mmfs1").snapshots) == "global-snapshot1,snap_test"


@pytest.mark.parametrize("name", ["-j", "--help", "", "a b", "a\nb", "-"])
def test_no_name_becomes_an_option_of_a_command(commands, name):
    before = len(getCmdCache())
    for act in (
        lambda: Fileset("mmfs1", name),
        lambda: Fileset(name, "root"),
        lambda: Filesystem(name),
        lambda: Snapshot("mmfs1", name, {}).delete(),
        lambda: Snapshot(name, "snap", {}).delete(),
        lambda: Snapshot("mmfs1", "snap", {"fileset": "-p"}).delete(),
    ):
        with pytest.raises(CallbackError, match="is not the name of a"):
            act()

    assert len(getCmdCache()) == before
    for identifier in ("-j", "--help"):
        with pytest.raises(NotThere):
            Callback(identifier)
        with pytest.raises(Invalid, match="begins with a dash"):
            Callback(identifier, SCRIPT, "startup").create()


def test_a_collection_contains_what_it_finds(commands):
    cluster = Cluster()
    commands.change("mmcrsnapshot", "mmfs1", "snap")
    member = site().members()[0]

    for collection, good, bad in (
        (cluster.nodes, [*member.names, "localhost", Node(member.name)], ["nowhere", "", 5]),
        (cluster.filesystems, ["mmfs1", Filesystem("mmfs1")], ["mmfs9", ""]),
        (Filesystem("mmfs1").snapshots, ["snap"], ["snap9"]),
    ):
        for each in good:
            assert each in collection
            assert str(collection[str(each)])
        for each in bad:
            assert each not in collection
            with pytest.raises(NotThere):
                collection[str(each)]


def test_a_dry_run_of_a_function_writes_nothing(settings):
    setDryRun(True)

    Cluster().onShutdown.new(logger)

    assert [each.split()[:2] for each in getCmdCache()] == [["mmaddcallback", "clusterbus-daemon"]]
    assert not settings.consumers.callbacks.exists()
    assert not settings.gpfs.memory.exists()


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("nodes", ["cl01"], ("nodes", ("cl01",))),
        ("events", ["mount"], ("events", ("mount",))),
        ("parms", ["%eventNode"], ("parms", "%eventNode")),
        ("sync", True, ("sync", True)),
        ("timeout", 9, ("timeout", 9)),
        ("onerror", "shutdown", ("onerror", "shutdown")),
        ("priority", 2.5, ("priority", 2.5)),
    ],
)
def test_each_field_is_changed_and_the_others_stay(registered, field, value, shown):
    Callback("test1", SCRIPT, ["startup", "shutdown"], sync=True, timeout=5, accept="sync").create()
    before = registered()["test1"]

    Callback("test1").change(**{field: value}, force=True)

    after = registered()["test1"]
    differing = {name for name in before.__slots__ if getattr(before, name) != getattr(after, name)}
    assert getattr(after, shown[0]) == shown[1]
    assert differing == ({shown[0]} if field != "sync" else set())


@pytest.mark.parametrize("commands_done", range(5))
def test_a_change_that_is_killed_anywhere_misses_no_event_and_is_finished(
    simulated, commands, registered, settings, commands_done
):
    Callback("test1", SCRIPT, "startup").create()
    left = [commands_done]
    run = answering(simulated)

    def fragile(words):
        if words[0] in ("mmaddcallback", "mmdelcallback"):
            if not left[0]:
                raise Killed
            left[0] -= 1
        return run(words)

    work_on(Commands(fragile), settings)
    wanted = Callback("test1")
    if commands_done < 4:
        with pytest.raises(Killed):
            wanted.change(events=["startup", "shutdown"])
    else:
        wanted.change(events=["startup", "shutdown"])
    between = registered()
    work_on(Commands(run), settings)
    Callback("test1").change(events=["startup", "shutdown"])

    assert any("startup" in each.events for each in between.values())
    assert {name: each.events for name, each in registered().items()} == {"test1": ("startup", "shutdown")}


def create_and_be_killed(simulated, settings):
    """Create the function callback `f1`, and be killed when its capture is to be registered."""

    def killing(words):
        if words[0] == "mmaddcallback":
            raise Killed
        return answering(simulated)(words)

    work_on(Commands(killing), settings)
    with pytest.raises(Killed):
        Callback("f1", message, "mount", parms="%fsName").create()


def test_a_create_of_a_function_that_is_killed_is_finished_by_the_next(simulated, settings, served):
    create_and_be_killed(simulated, settings)
    assert served() == {}

    work_on(Commands(answering(simulated)), settings)
    Callback("f1", message, "mount", parms="%fsName").create()

    assert set(served()) == {"callback-f1"}


class Lacking:
    """A release that lacks snapshotCreated."""

    def __init__(self, simulated):
        self.run = answering(simulated)

    def __call__(self, words):
        if words[0] == "mmaddcallback" and "snapshotCreated" in words[words.index("--event") + 1].split(","):
            raise CommandFailed(words, 1, "mmaddcallback: there is no event snapshotCreated")
        return self.run(words)


def captured(commands):
    return {event for each in read(commands) if each.identifier.startswith("clusterbus-") for event in each.events}


def test_a_change_of_a_function_that_gpfs_refuses_leaves_its_events_captured(simulated, commands, settings, served):
    Callback("f1", message, "mount", parms="%fsName").create()
    work_on(Commands(Lacking(simulated)), settings)

    for _ in range(2):
        with pytest.raises(gpfs.NotDone, match="the callback is not changed"):
            Callback("f1").add(events="snapshotCreated")

    assert captured(commands) == {"mount"}
    assert served()["callback-f1"].patterns == ("gpfs.*.mount.mount.*.*",)


def test_a_function_for_an_event_that_is_lacking_is_refused_each_time_and_leaves_nothing(
    simulated, settings, registered
):
    work_on(Commands(Lacking(simulated)), settings)

    for identifier in ("f1", "f2"):
        with pytest.raises(gpfs.NotDone, match="there is no event snapshotCreated"):
            Callback(identifier, message, "snapshotCreated", parms="%fsName").create()

    assert [each.name for each in settings.consumers.callbacks.iterdir()] == [".lock"]
    Callback("f1", SCRIPT, "startup").create()
    Callback("f1").delete()
    assert registered() == {}


def test_a_program_is_deleted_where_a_create_of_a_function_was_killed_before(simulated, commands, settings, registered):
    create_and_be_killed(simulated, settings)
    work_on(commands, settings)
    Callback("f1", SCRIPT, "startup").create()

    Callback("f1").delete()

    assert registered() == {}
    assert captured(commands) == set()


def test_a_function_is_captured_again_by_creating_it_anew_after_all_of_ours_were_removed(commands, settings):
    Callback("f1", message, "mount", parms="%fsName").create()
    registrar = Registrar(commands, settings.gpfs, load("gpfs"))
    registrar.remove(registrar.removal())
    assert captured(commands) == set()

    Callback("f1", message, "mount", parms="%fsName").create()

    assert captured(commands) == {"mount"}


@pytest.mark.parametrize("where", ["before GPFS", "before the subscription goes", "before the function goes"])
def test_a_delete_of_a_function_that_is_killed_anywhere_is_finished_by_the_next(
    simulated, commands, settings, served, monkeypatch, where
):
    def killing(words):
        if words[0] == "mmdelcallback":
            raise Killed
        return answering(simulated)(words)

    def killed(*_):
        raise Killed

    Callback("f1", message, "mount", parms="%fsName").create()
    with monkeypatch.context() as patch:
        match where:
            case "before GPFS":
                work_on(Commands(killing), settings)
            case "before the subscription goes":
                patch.setattr(Folder, "remove", killed)
            case _:
                patch.setattr(Folder, "remove_module", killed)
        with pytest.raises(Killed):
            Callback("f1").delete()
    work_on(commands, settings)

    # Its subscription is there until all else is done, so its name is enough.
    known = {"command": message, "event": "mount"} if where == "before the function goes" else {}
    Callback("f1", **known).delete()

    assert served() == {}
    assert captured(commands) == set()
    assert [each.name for each in settings.consumers.callbacks.iterdir()] == [".lock"]
    with pytest.raises(NotThere):
        Callback("f1")


def test_a_node_is_known_by_each_of_its_names(registered):
    Callback("test1", SCRIPT, "startup", node=["cl01.prod.example", "nsd01"]).create()

    Callback("test1").add(nodes="cl01")
    Callback("test1").remove(nodes=["NSD01.prod.example"])

    assert registered()["test1"].nodes == ("cl01.prod.example",)


def test_all_nodes_by_their_class_are_as_none_at_all(commands):
    Callback("test1", SCRIPT, "startup", node="all").create()
    Callback("test1", SCRIPT, "startup").create()

    assert len(commands.recorded) == 1


def test_what_gpfs_refuses_leaves_what_was_there(registered):
    Callback("test1", SCRIPT, "startup").create()

    with pytest.raises(Exception, match="no node or node class 'cl99'"):
        Callback("test1").change(nodes=["cl99"])

    assert registered()["test1"].nodes == ()
    assert set(registered()) == {"test1"}


def test_all_mistakes_are_told_in_one_error_and_no_command_is_run(commands):
    commands._run = None  # nothing may be asked
    callback = Callback(
        "gpfs one",
        "myscript.sh",
        ["shutdwn", "tiebreakerCheck"],
        parms=["%nodeNam"],
        node="a b",
        priority="high",
        timeout=5,
        onError="stop",
    )

    with pytest.raises(Invalid) as refused:
        callback.validate()

    said = str(refused.value)
    for each in (
        "no colon, semicolon, comma, blank",
        "begins with gpfs",
        "'myscript.sh' is not a full path",
        "did you mean shutdown",
        "tiebreakerCheck is dangerous: its callback decides",
        "no variable %nodeNam; did you mean",
        "'a b' is not the name of a node",
        "priority is 'high'",
        "timeout 5 needs sync=True",
        "onError is 'stop': write one of continue, quorumLoss, shutdown",
    ):
        assert each in said
    assert len(refused.value.mistakes) >= 10


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"sync": True}, "add accept=['sync'] or force=True"),
        ({"sync": True, "accept": "sync", "onError": "shutdown"}, "would stop GPFS on its node"),
        ({"event": "sendRequestToNodes"}, "GPFS uses it internally"),
        ({"command": "/tmp/../etc/x"}, "contains .."),
        ({"command": "/tmp"}, "not an executable file"),
        ({"callbackId": "clusterbus-disk"}, "`clusterbus callbacks` would remove it"),
        ({"callbackId": "a.next"}, "which is reserved for changes"),
        ({"callbackId": "x" * 251}, "and the limit is 250"),
        ({"command": message, "sync": True}, "GPFS cannot wait for a function"),
        ({"command": message, "priority": 1, "parms": "%eventNode"}, "has its own queue"),
        ({"command": sizes}, "parameter nothing: no variable"),
        ({"command": message, "parms": "a b"}, "has 2 words, and the function takes 1"),
        ({"command": message, "parms": "node=%eventNode"}, "write %eventNode as a separate word"),
        ({"parms": "%blockUsage"}, "none of the events has %blockUsage"),
        ({"parms": "%fsName.ip", "event": "mount"}, "only variables with node names"),
        ({"accept": "snyc"}, "is not a known danger; did you mean sync?"),
        ({"event": []}, "has no event"),
        ({"command": 7}, "command is 7"),
    ],
)
def test_what_cannot_be_or_is_dangerous_is_refused_with_the_reason(keywords, said):
    fields = {"callbackId": "test1", "command": SCRIPT, "event": "startup", **keywords}

    with pytest.raises(Invalid) as refused:
        Callback(**fields).create()

    assert said in str(refused.value)


def test_a_danger_that_is_taken_is_registered(registered):
    Callback("test1", SCRIPT, "preUnmount", sync=True, timeout=timedelta(seconds=30), accept=["sync"]).create()

    assert (registered()["test1"].sync, registered()["test1"].timeout) == (True, 30)


def test_a_program_on_gpfs_is_refused():
    rules = Rules(load("gpfs"), lambda: [("/", "ext4"), ("/gpfs1", "gpfs"), ("/gpfs10", "ext4")])
    draft = Callback("test1", "/gpfs1/bin/x", "startup")._draft
    other = Callback("test1", "/gpfs10/bin/x", "startup")._draft

    assert any("on the GPFS file system /gpfs1" in each for each in rules.mistakes(draft))
    assert rules.mistakes(other) == []


@pytest.mark.parametrize(
    "keywords",
    [
        {"id": "test1", "command": SCRIPT, "events": ["startup"], "nodes": ["cl01"], "params": ["%eventNode"]},
        {"name": "test1", "script": SCRIPT, "event": "startup", "node": "cl01", "parm": "%eventNode", "onerror": None},
        {"callbackId": "test1", "command": Path(SCRIPT), "event": "STARTUP", "node": "cl01", "parms": "%eventNode"},
    ],
    ids=["id", "name", "callbackId"],
)
def test_every_spelling_of_a_keyword_means_the_same(keywords):
    made = Callback(**keywords)

    assert (made.id, made.name, made.callbackId, made.command) == ("test1", "test1", "test1", SCRIPT)
    assert (made.events, made.nodes, made.parms) == (["startup"], ["cl01"], ["%eventNode"])
    assert (made.priority, made.sync, made.timeout, made.onError) == (-1, False, None, "continue")


def test_an_unknown_keyword_is_refused_with_the_nearest():
    with pytest.raises(UnknownKeyword, match=r"unknown keyword 'timeuot'; did you mean timeout\?"):
        Callback("test1", SCRIPT, "startup", timeuot=3)
    with pytest.raises(TypeError):
        Callback("test1", SCRIPT, "startup").change(command="/bin/true")


def test_a_program_can_be_called_as_a_function():
    made = Callback("test1", "/bin/true", "startup")

    assert (made.script, made.function()) == ("/bin/true", 0)


def test_what_is_there_as_wanted_is_not_created_again_and_another_is_refused(commands):
    Callback("test1", SCRIPT, "startup").create()
    Callback("test1", SCRIPT, "startup").create()

    with pytest.raises(
        gpfs.AlreadyThere, match=r"startup, but should be shutdown; parms is not set, but should be x: use change\(\)"
    ):
        Callback("test1", SCRIPT, "shutdown", parms="x").create()
    with pytest.raises(gpfs.AlreadyThere, match="for a program"):
        Callback("test1", message, "shutdown", parms="%eventNode").create()
    assert len(commands.recorded) == 1


def test_the_last_event_or_node_is_not_removed(registered):
    Callback("test1", SCRIPT, "startup", node="cl01").create()

    for fields in ({"events": "startup"}, {"nodes": "cl01"}, {"nodes": "cl02"}):
        with pytest.raises(Invalid):
            Callback("test1").remove(**fields)

    assert registered()["test1"].nodes == ("cl01",)


def test_callbacks_of_clusterbus_itself_are_not_in_reach(commands):
    Cluster().onShutdown.new(logger)
    there = [each.identifier for each in read(commands)]

    assert there == ["clusterbus-daemon"]
    assert "clusterbus-daemon" not in Cluster().callbacks
    with pytest.raises(Invalid, match="all consumers depend on it"):
        Callback("clusterbus-daemon").delete()


def test_an_event_that_is_none_of_a_file_system_says_so():
    with pytest.raises(AttributeError, match="startup has no fsName"):
        _ = Filesystem("mmfs1").onStartup
    with pytest.raises(AttributeError, match="did you mean onMount"):
        _ = Cluster().onMuont
    with pytest.raises(KeyError, match="no file system 'mmfs3'; did you mean"):
        Filesystem("mmfs3").onMount.new(handler)


def test_this_node_is_found_by_its_name_or_else_by_its_address(commands):
    cluster = cluster_nodes.members(commands)

    assert here(cluster, "NSD02.prod.example").name == "nsd02"
    assert here(cluster, "elsewhere", lambda address: address == cluster[3].address).name == cluster[3].name
    with pytest.raises(NotThere, match="does not list its name"):
        here(cluster, "elsewhere", lambda _: False)


def test_a_folder_that_anybody_may_write_to_is_neither_used_nor_served(settings, tmp_path):
    settings.consumers.callbacks.mkdir()
    settings.consumers.callbacks.chmod(0o777)

    with pytest.raises(gpfs.NotDone, match="is writable by other users"):
        Cluster().onShutdown.new(logger)
    report = validation.check([], Catalogues.shipped(), settings)
    assert "is writable by other users" in str(report.mistakes[0])


@pytest.mark.parametrize("identifier", ["../../etc/passwd", ".hidden", "a" * 250, "Größe", "a'b\"c"])
def test_no_identifier_leaves_the_folder(settings, served, identifier):
    Callback(identifier, message, "startup", parms="%eventNode").create()

    assert len(served()) == 1
    assert Callback(identifier).id == identifier
    assert {each.parent for each in settings.consumers.callbacks.rglob("*")} == {settings.consumers.callbacks}
    Callback(identifier).delete()
    assert [each.name for each in settings.consumers.callbacks.iterdir()] == [".lock"]
