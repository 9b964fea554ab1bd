"""The simulated cluster with real processes: programs in PATH, registered commands, and the real capture."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from router import simulator
from router.simulator.__main__ import command_line
from router.simulator.cluster_state import CallbackState
from router.simulator.errors import CommandRefused, StateUnusable
from router.simulator.install import install, install_capture, register_all
from router.simulator.simulated_cluster import Cluster
from router.simulator.simulated_node import Node
from tests.mm_commands import answering
from tests.processes import bound

COMMAND = "/opt/site/handler"
GLOBAL = {"eventNode": "cl01"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster.create(tmp_path / "cluster", nodes=6, name="prod")


@pytest.fixture
def register(cluster: Cluster) -> Callable[..., None]:
    """Give a function that puts a script on every node and registers it."""

    def register(script: str, *events: str, identifier: str = "test", **facts: Any) -> None:
        command = f"{COMMAND}-{identifier}"
        for node in cluster.nodes:
            node.install(command, f"#!/bin/sh\n{script}\n")
        cluster.add_callbacks(CallbackState(identifier=identifier, command=command, events=events, **facts))

    return register


@pytest.fixture
def programs(cluster: Cluster, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Give a function that runs one of the mm commands, found by PATH as a tool would find it."""
    folder = tmp_path / "bin with blank"
    install(folder, cluster.folder)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        path = f"{folder}:{os.environ['PATH']}"
        return subprocess.run(
            ["/usr/bin/env", *words], env={"PATH": path}, capture_output=True, text=True, timeout=240, check=False
        )

    return run


@pytest.fixture
def said_by(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Give a function that runs the simulator in this process: a program takes half a second to start."""

    def run(*words: str, state: Path = cluster.folder) -> "subprocess.CompletedProcess[str]":
        code = command_line(["--state", str(state), *words])
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, printed.out, printed.err)

    return run


def records(node: Node) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((node.spool / "new").iterdir())]


def said(node: Node) -> list[str]:
    """Return what the commands of *node* wrote, without the daemon's own lines."""
    if not node.log.exists():
        return []
    return [line for line in node.log.read_text().splitlines() if "Calling user exit script" not in line]


def test_every_registered_node_captures_a_global_event(cluster):
    install_capture(cluster)
    register_all(cluster, everywhere=True)

    runs = cluster.raise_event("nodeLeave", GLOBAL)

    up = ["nsd01", "nsd02", "cl02", "cl03", "cl04"]
    assert [(each.node, each.identifier, each.exit_code) for each in runs] == [(n, "clusterbus-node", 0) for n in up]
    for name in up:
        [record] = records(cluster.node(name))
        assert (record["source"], record["event"], record["node"]) == ("gpfs", "nodeLeave", name)
        assert record["arguments"][:4] == ["--eventNode", "cl01.prod.example", "--myNode", f"{name}.prod.example"]
    assert records(cluster.node("cl01")) == []


def test_by_default_only_quorum_nodes_capture_a_global_event(cluster):
    install_capture(cluster)
    register_all(cluster)

    runs = cluster.raise_event("nodeLeave", GLOBAL)

    assert [each.node for each in runs] == ["nsd01"]


def test_a_local_event_is_captured_where_it_happens(cluster):
    install_capture(cluster)
    register_all(cluster)

    cluster.raise_event("softQuotaExceeded", {"fsName": "gpfs2", "filesetName": "a b", "blockUsage": "7"})
    cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl02")

    [quota] = records(cluster.node("nsd02"))
    pairs = dict(zip(quota["arguments"][::2], quota["arguments"][1::2], strict=True))
    assert (pairs["--filesetName"], pairs["--blockUsage"], pairs["--blockLimit"]) == ("a b", "7", "UNDEFINED")
    assert [each["event"] for each in records(cluster.node("cl02"))] == ["mount"]
    assert sum(len(records(each)) for each in cluster.nodes) == 2


@pytest.mark.parametrize(
    "value",
    ["; rm -rf /", "$(id)", "`id`", "'\"\\", "--fsName", "%fsName", "*", "a\nb", "\u2028 é", "-", "x" * 100_000],
)
def test_a_hostile_value_arrives_as_it_was(cluster, value):
    install_capture(cluster)
    register_all(cluster)

    [run] = cluster.raise_event("rgPanic", {"rgName": "rg1", "rgReason": value})

    [record] = records(cluster.node(run.node))
    assert record["arguments"][record["arguments"].index("--rgReason") + 1] == value


def test_a_value_that_is_not_utf_8_arrives_reversibly(cluster):
    install_capture(cluster)
    register_all(cluster)

    cluster.raise_event("rgPanic", {"rgReason": os.fsdecode(b"caf\xe9")})

    [record] = records(cluster.node("nsd01"))
    assert os.fsencode(record["arguments"][record["arguments"].index("--rgReason") + 1]) == b"caf\xe9"


def test_a_split_value_and_a_missing_one_arrive_as_gpfs_might_give_them(cluster):
    install_capture(cluster)
    register_all(cluster)
    cluster.behave(value_with_blanks="split", undefined="missing")

    cluster.raise_event("rgPanic", {"rgName": "rg1", "rgReason": "server node failed"})

    [record] = records(cluster.node("nsd01"))
    assert record["arguments"][6:10] == ["--rgName", "rg1", "--rgErr", "--rgCount"]
    assert record["arguments"][-5:] == ["--rgReason", "server", "node", "failed", "--pdState"]


def test_all_nodes_run_their_commands_at_the_same_time(cluster, register, tmp_path):
    # Each waits until all six are there: one after the other, none would ever end.
    register(
        f"mkdir -p {tmp_path}/there && echo > {tmp_path}/there/$1\n"
        f'while [ "$(ls {tmp_path}/there | wc -l)" -lt 6 ]; do /bin/sleep 0.02; done',
        "nodeJoin",
        parms="%myNode.shortName",
    )

    runs = cluster.raise_event("nodeJoin", GLOBAL, bound=timedelta(seconds=80))

    assert [each.exit_code for each in runs] == [0] * 6


def test_a_command_runs_in_a_bare_world(cluster, register):
    register(
        '/usr/bin/env -u PWD -u OLDPWD -u SHLVL -u _ -u PATH; pwd; read -r line || echo "no stdin"; echo "[$*]"',
        "startup",
        parms="%eventName",
    )

    cluster.raise_event("startup", node="cl01")

    assert said(cluster.node("cl01")) == ["/", "no stdin", "[startup]"]


def test_a_synchronous_command_is_over_before_the_next_one_starts(cluster, register):
    register("/bin/sleep 0.3; echo first", "startup", identifier="first", priority=1, sync=True)
    register("echo second", "startup", identifier="second", priority=2)

    runs = cluster.raise_event("startup", node="cl01")

    assert [each.identifier for each in runs] == ["first", "second"]
    assert said(cluster.node("cl01")) == ["first", "second"]


def test_an_asynchronous_command_is_not_waited_for_by_the_next_one(cluster, register, tmp_path):
    go = tmp_path / "go"
    register(f"while [ ! -e {go} ]; do /bin/sleep 0.02; done; echo first", "startup", identifier="first", priority=1)
    register(f"echo second; echo > {go}", "startup", identifier="second", priority=2)

    runs = cluster.raise_event("startup", node="cl01", bound=timedelta(seconds=80))

    assert [each.exit_code for each in runs] == [0, 0]
    assert said(cluster.node("cl01")) == ["second", "first"]


def test_a_synchronous_command_holds_the_next_one_no_longer_than_its_timeout(cluster, register, tmp_path):
    go = tmp_path / "go"
    slow = f"while [ ! -e {go} ]; do /bin/sleep 0.02; done"
    register(slow, "startup", identifier="slow", priority=1, sync=True, timeout=1)
    register(f"echo > {go}", "startup", identifier="next", priority=2)

    slow_run, next_run = cluster.raise_event("startup", node="cl01", bound=timedelta(seconds=80))

    assert (slow_run.exit_code, slow_run.reason) == (0, "timeout of 1 s passed")
    assert next_run.exit_code == 0


def test_what_hangs_is_killed_with_its_children_after_the_bound(cluster, register, tmp_path):
    child = tmp_path / "child"
    register(f"/bin/sleep 1000 & echo $! > {child}; wait", "startup")
    begun = time.monotonic()

    [run] = cluster.raise_event("startup", node="cl01", bound=timedelta(seconds=0.5))

    assert (run.exit_code, run.reason) == (None, "killed: it still ran after 0.5 s")
    assert time.monotonic() - begun < 60
    assert not _runs(int(child.read_text()))


def _runs(process: int) -> bool:
    """Say whether *process* does anything still: a killed one may wait for whoever reaps orphans."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def test_how_a_command_ends_is_told(cluster, register):
    register("exit 7", "startup", identifier="exits")
    register("kill -9 $$", "startup", identifier="dies")
    register("exit 0", "startup", identifier="vanishes")
    (cluster.node("cl01").root / f"{COMMAND}-vanishes".lstrip("/")).unlink()

    runs = {each.identifier: each for each in cluster.raise_event("startup", node="cl01")}

    assert runs["exits"].exit_code == 7
    assert (runs["dies"].exit_code, runs["dies"].reason) == (None, "ended by signal 9")
    assert runs["vanishes"].exit_code is None
    assert "No such file" in runs["vanishes"].reason


def test_a_failed_synchronous_command_stops_gpfs_where_it_was_registered_to(cluster, register):
    register("exit 1", "mount", sync=True, on_error="shutdown")

    cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl01")

    assert not cluster.state.nodes["cl01"].up
    assert cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl01") == []


def test_a_failed_asynchronous_command_changes_nothing(cluster, register):
    register("exit 1", "mount")

    cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl01")

    assert cluster.state.nodes["cl01"].up


def test_a_node_file_goes_before_one_of_this_machine(cluster):
    cluster.add_callbacks(CallbackState(identifier="a", command="/bin/false", events=("startup",)))
    cluster.node("cl01").install("/bin/false", "#!/bin/sh\nexit 0\n")

    exits = [cluster.raise_event("startup", node=each)[0].exit_code for each in ("cl01", "cl02")]

    assert exits == [0, 1]


@pytest.mark.parametrize("path", ["bin/x", "/bin/../../x", "/.."])
def test_nothing_is_installed_outside_of_a_node(cluster, path):
    with pytest.raises(CommandRefused):
        cluster.node("cl01").install(path, "")


def test_a_command_has_to_be_there_on_every_node_of_the_registration(cluster):
    cluster.node("cl01").install("/opt/x", "#!/bin/sh\n")
    wanted = CallbackState(identifier="a", command="/opt/x", events=("startup",))

    with pytest.raises(CommandRefused, match="/opt/x is not an executable file on node nsd01"):
        cluster.add_callbacks(wanted)
    cluster.add_callbacks(wanted.model_copy(update={"nodes": ("cl01",)}))

    assert [each.node for each in cluster.raise_event("nodeJoin", GLOBAL)] == []
    assert [each.node for each in cluster.raise_event("startup", node="cl01")] == ["cl01"]


def test_an_event_happens_as_often_as_wanted(cluster):
    install_capture(cluster)
    register_all(cluster)

    runs = cluster.raise_event("lowDiskSpace", {"fsName": "gpfs1", "storagePool": "data"}, times=3)

    assert len(runs) == len(records(cluster.node("nsd01"))) == 3


def test_an_event_does_not_happen_less_than_once(cluster):
    with pytest.raises(CommandRefused, match="0 times"):
        cluster.raise_event("startup", node="cl01", times=0)


@pytest.mark.parametrize(
    ("event", "values", "node", "says"),
    [
        ("nodeLeft", {}, None, "did you mean nodeLeave"),
        ("nodeLeave", {"eventNod": "cl01"}, None, "did you mean eventNode"),
        ("startup", {}, "cl99", "no node 'cl99'"),
        ("startup", {}, None, "name it with --node"),
        ("rgPanic", {"rgReason": "a\0b"}, None, "NUL"),
        ("rgPanic", {"rgReason": "\ud800"}, None, "incomplete character"),
    ],
)
def test_what_cannot_happen_is_refused_and_changes_nothing(cluster, event, values, node, says):
    before = cluster.state

    with pytest.raises(CommandRefused, match=says):
        cluster.raise_event(event, values, node)

    assert cluster.state == before


def test_registrations_by_many_programs_at_once_are_all_kept(cluster):
    def add(number: int) -> None:
        callback = CallbackState(identifier=f"c{number}", command="/bin/true", events=("startup",))
        Cluster(cluster.folder).add_callbacks(callback)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))

    assert len(cluster.state.callbacks) == 40
    assert sorted(each.name for each in cluster.folder.iterdir()) == ["cluster.db", "nodes"]


def test_a_program_killed_while_it_registers_leaves_a_whole_state(cluster):
    busy = (
        "import sys, itertools; from router.simulator import CallbackState, Cluster\n"
        "cluster = Cluster(sys.argv[1])\n"
        "for n in itertools.count():\n"
        "    cluster.add_callbacks(CallbackState(identifier=f'c{n}', command='/bin/true', events=('startup',)))\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    command = bound([sys.executable, "-c", busy, str(cluster.folder)])
    with subprocess.Popen(command, env={"PYTHONPATH": root}) as process:
        deadline = time.monotonic() + 120
        while len(cluster.state.callbacks) < 5 and time.monotonic() < deadline:
            assert process.poll() is None
        process.kill()

    kept = len(cluster.state.callbacks)
    cluster.add_callbacks(CallbackState(identifier="next", command="/bin/true", events=("startup",)))

    assert kept >= 5
    assert list(cluster.state.callbacks) == [*(f"c{number}" for number in range(kept)), "next"]


def test_of_several_registrations_all_are_kept_or_none(cluster):
    good = CallbackState(identifier="good", command="/bin/true", events=("startup",))

    with pytest.raises(CommandRefused, match="'mmBad' begins with 'mm'"):
        cluster.add_callbacks(good, good.model_copy(update={"identifier": "mmBad"}))

    assert cluster.state.callbacks == {}


def test_a_folder_without_a_cluster_is_told_as_such(tmp_path):
    with pytest.raises(StateUnusable, match="holds no simulated cluster"):
        Cluster(tmp_path)


def test_a_damaged_state_is_told_with_its_place(cluster):
    (cluster.folder / "cluster.db").write_bytes(b"\0" * 5000)

    with pytest.raises(StateUnusable, match=r"cluster\.db"):
        Cluster(cluster.folder)


def test_a_state_of_an_earlier_version_is_told_as_such(tmp_path):
    (tmp_path / "cluster.json").write_text('{"version": 1}')

    with pytest.raises(StateUnusable, match=r"cluster\.json is a cluster of version 1, which is no longer supported"):
        Cluster(tmp_path)
    with pytest.raises(StateUnusable, match="holds a cluster already"):
        Cluster.create(tmp_path)


def test_a_cluster_is_never_made_over_another(cluster):
    with pytest.raises(StateUnusable, match="holds a cluster already"):
        Cluster.create(cluster.folder)


def test_the_mm_commands_are_programs_in_the_path(cluster, programs, said_by):
    parms = "-e %eventName --on %myNode.shortName"
    added = programs(
        *("mmaddcallback", "probe", "--command", "/bin/true", "--event", "startup,mount"),
        *("--parms", parms, "--sync", "--timeout", "5"),
    )
    listed = programs("mmlscallback")
    for_programs = said_by("mmlscallback", "-Y", "probe")
    removed = said_by("mmdelcallback", "probe")
    empty = said_by("mmlscallback")

    assert (added.returncode, added.stdout) == (0, "")
    assert "mmaddcallback: Propagating the cluster configuration data to all\n  affected nodes." in added.stderr
    assert listed.stdout.splitlines()[0] == "probe"
    assert f"        parms         = {parms}" in listed.stdout.splitlines()
    assert len(for_programs.stdout.splitlines()) == 2
    assert (removed.returncode, empty.stdout, cluster.state.callbacks) == (0, "", {})


def test_a_refused_command_exits_1_and_says_why_and_how(cluster, programs):
    refused = programs("mmaddcallback", "gpfsProbe", "--command", "/bin/true", "--event", "startup")

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "mmaddcallback: callback identifier 'gpfsProbe' begins with 'gpfs'" in refused.stderr
    assert "--command CommandPathname" in refused.stderr
    assert cluster.state.callbacks == {}


def test_deleting_what_is_not_there_deletes_nothing(cluster, said_by):
    cluster.add_callbacks(CallbackState(identifier="mine", command="/bin/true", events=("startup",)))

    refused = said_by("mmdelcallback", "mine,mime")

    assert refused.returncode == 1
    assert "did you mean mine" in refused.stderr
    assert list(cluster.state.callbacks) == ["mine"]


def test_callbacks_of_gpfs_itself_are_listed_apart(cluster, said_by):
    cluster.add_callbacks(CallbackState(identifier="mine", command="/bin/true", events=("startup",)))

    names = {
        which: [line for line in said_by("mmlscallback", which).stdout.splitlines() if line[0] != " "]
        for which in ("user", "system", "all")
    }

    assert names["user"] == ["mine"]
    assert "mmSysMonGpfsStartup" in names["system"]
    assert names["all"] == names["user"] + names["system"]


def test_the_cluster_is_listed_for_people_and_programs(said_by):
    people, machines = said_by("mmlscluster"), said_by("mmlscluster", "-Y")

    assert "  GPFS cluster name:         prod" in people.stdout.splitlines()
    assert len([line for line in people.stdout.splitlines() if ".prod.example" in line]) == 6
    assert len([line for line in machines.stdout.splitlines() if line.startswith("mmlscluster:clusterNode:0:")]) == 6


def test_everything_is_there_on_the_command_line(programs, said_by, tmp_path):
    state = tmp_path / "other"

    made = [said_by(*words, state=state).returncode for words in (["create", "--nodes", "3"], ["capture"])]
    raised = programs(*_simulator(state), "raise", "nodeLeave", "eventNode=cl01", "--json")
    refused = programs(*_simulator(state), "raise", "nodeLeft")
    switched = said_by("behave", "undefined=empty", state=state)
    wrong = said_by("behave", "undefined=nothing", state=state)
    nowhere = said_by("raise", "nodeLeave", state=tmp_path / "nowhere")

    assert made == [0, 0]
    assert json.loads(raised.stdout) == [
        {"node": "nsd01", "identifier": "clusterbus-node", "exit_code": 0, "reason": ""}
    ]
    assert (refused.returncode, wrong.returncode, nowhere.returncode) == (1, 1, 3)
    assert "did you mean nodeLeave" in refused.stderr
    assert "switch undefined:" in wrong.stderr
    assert "undefined = empty" in switched.stdout.splitlines()


def _simulator(state: Path) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    return [f"PYTHONPATH={root}", sys.executable, "-m", "router.simulator", "--state", str(state)]


def test_five_thousand_nodes_are_made_listed_and_run(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=5000)
    cluster.add_callbacks(
        CallbackState(identifier="a", command="/bin/true", events=("nodeLeave",), nodes=("quorumNodes",)),
        CallbackState(identifier="b", command="/bin/true", events=("mount",)),
    )
    ask = answering(cluster)

    listed = [ask([*words, "-Y"]).splitlines() for words in (["mmlscluster"], ["mmgetstate", "-a"])]
    left = cluster.raise_event("nodeLeave", {"eventNode": "cl4000"})
    mounted = cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl4992")

    # mmlscluster -Y begins with headers of all its sections.
    assert [len(each) for each in listed] == [5011, 5001]
    assert sum(":clusterNode:" in each and ":HEADER:" not in each for each in listed[0]) == 5000
    assert [each.node for each in left] == ["nsd01", "nsd02", "nsd03"]
    assert [each.node for each in mounted] == ["cl4992"]
    assert (cluster.folder / "cluster.db").stat().st_size < 3_000_000


def test_one_node_that_changes_costs_one_row_however_many_there_are(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=500)

    cluster.raise_event("nodeLeave", {"eventNode": "cl300"})
    cluster.raise_event("lowDiskSpace", {"fsName": "gpfs1", "storagePool": "data"})

    with closing(sqlite3.connect(cluster.folder / "cluster.db")) as connection:
        assert connection.execute("SELECT revision, key FROM rows WHERE revision > 1").fetchall() == [(2, "cl300")]


def test_of_many_nodes_no_more_run_at_once_than_are_allowed(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=150)
    there = tmp_path / "there"
    there.mkdir()
    script = f"#!/bin/sh\necho > {there}/$1; ls {there} | wc -l; /bin/sleep 0.02; rm {there}/$1\n"
    program = tmp_path / "program"
    program.write_text(script)
    program.chmod(0o755)
    cluster.add_callbacks(
        CallbackState(identifier="a", command=str(program), events=("quorumLoss",), parms="%myNode.shortName")
    )

    runs = cluster.raise_event("quorumLoss")

    assert [each.exit_code for each in runs] == [0] * 150
    assert max(int(said(each)[0]) for each in cluster.nodes) <= 64


@pytest.mark.parametrize(
    ("switches", "expected"),
    [({}, "[]"), ({"environment": "daemon"}, "[/usr/lpp/mmfs/bin:/usr/sbin:/usr/bin:/sbin:/bin]")],
)
def test_the_environment_is_what_the_switch_says(cluster, register, tmp_path, switches, expected):
    register(f'echo "[$(/usr/bin/env | /bin/grep ^LANG= > /dev/null && echo $PATH)]" > {tmp_path}/said', "startup")
    cluster.behave(**switches)

    cluster.raise_event("startup", node="cl01")

    assert (tmp_path / "said").read_text().strip() == expected


@pytest.mark.parametrize(("output", "code"), [("nowhere", 0), ("broken_pipe", None)])
def test_what_a_command_writes_goes_where_the_switch_says(cluster, register, output, code):
    register("echo hello; /bin/true", "startup")
    cluster.behave(output=output)

    [run] = cluster.raise_event("startup", node="cl01")

    assert run.exit_code == code
    assert said(cluster.node("cl01")) == []


def test_a_command_past_its_timeout_is_killed_where_the_switch_says_so(cluster, register):
    register("/bin/sleep 1000", "startup", sync=True, timeout=1)
    cluster.behave(past_timeout="killed")

    [run] = cluster.raise_event("startup", node="cl01")

    assert (run.exit_code, run.reason) == (None, "timeout of 1 s passed; ended by signal 9")


def test_a_missing_program_is_taken_where_the_switch_says_so(cluster):
    cluster.behave(missing_program="taken")
    cluster.add_callbacks(CallbackState(identifier="a", command="/opt/nowhere", events=("startup",)))

    [run] = cluster.raise_event("startup", node="cl01")

    assert "No such file" in run.reason


def test_nodes_that_are_added_have_a_place_and_join(cluster):
    [added] = cluster.grow(1)

    assert (added.name, cluster.state.nodes["cl05"].up) == ("cl05", False)
    cluster.raise_event("nodeJoin", {"eventNode": "cl05"})
    assert cluster.state.nodes["cl05"].up
    assert added.root.is_dir()


def test_an_event_that_is_not_there_cannot_be_lacking(cluster):
    with pytest.raises(CommandRefused, match="lacks: there is no event 'mont'; did you mean mount"):
        cluster.behave(lacks="mont")


def test_an_event_that_the_release_lacks_never_happens(cluster):
    cluster.behave(unknown_events="taken", lacks="mount")
    cluster.add_callbacks(CallbackState(identifier="a", command="/bin/true", events=("mount",)))

    with pytest.raises(CommandRefused, match="mount never happens here"):
        cluster.raise_event("mount", {"fsName": "gpfs1"}, node="cl01")


def test_the_examples_of_the_page_are_true(said_by, tmp_path):
    page = (Path(simulator.__file__).parent / "README.md").read_text()
    examples = re.findall(r"^\$ (.+)\n((?:(?!\$ |```).*\n)*)", page, re.MULTILINE)
    state = tmp_path / "page"

    assert examples
    for line, shown in examples:
        words = shlex.split(line)
        got = said_by(*(words[1:] if words[0] == "simulator" else words), state=state)
        assert got.returncode == 0, (line, got.stderr)
        assert got.stdout == shown, line
