"""The shape of the project: what may import what, what may be where, and what must not be written down."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shim", "router", "consumers")
MAY_IMPORT = {"shim": set(), "router": set(), "consumers": {"router"}}
MAY_IMPORT_PIKA = {"router/broker/rabbit.py", "shim/connection.py", "shim/publisher.py"}
LONGEST = 300
LONGER_FOR_A_REASON: dict[str, str] = {
    "shim/capture.py": "one file, that nodes can be given by itself",
    "shim/installer.py": "idem: it is sent to nodes as it is, and nothing of ours is there yet",
    "shim/publisher.py": "one state machine: each part of it needs the others' state",
}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc", "manager"}

# Lowest first: a module imports from the layers below its own only.  Modules that are not named are free, but never
# in a circle.
LAYERS = {
    "router": [
        {"errors"},
        {"topics", "durations", "logs"},
        {"events", "records"},
        {"catalogue", "collapse", "continuity"},
        {"broker", "sources", "store"},
        {"service"},
        {"cli"},
    ],
    "consumers": [
        {"errors"},
        {"retries"},
        {"filters", "subscriptions"},
        {"store", "run", "log"},
        {"engine"},
        {"cli"},
    ],
}

# What the capture may import when it starts costs nothing: it is compiled into the interpreter.
SLOW_TO_IMPORT = {"argparse", "ctypes", "datetime", "json", "logging", "pathlib", "re", "subprocess", "typing", "uuid"}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
assert SOURCES, "there is something to check"


def test_imports_run_one_way_between_packages():
    wrong = [
        f"{name(path)} imports {target}"
        for path in SOURCES
        for target in imported(path)
        if (other := target.split(".")[0]) in PACKAGES
        and other != package_of(path)
        and other not in MAY_IMPORT[package_of(path)]
        # The command `clusterbus` is put together here, the only place that sees everything.
        and not (name(path) == "consumers/cli.py" or name(path).startswith("consumers/cli/"))
    ]

    assert wrong == []


def test_a_module_imports_from_the_layers_below_its_own_only():
    wrong = [
        f"{name(path)} imports {target}"
        for path in SOURCES
        for target in imported(path)
        if target.split(".")[0] == package_of(path)
        and (own := layer(package_of(path), module(path))) is not None
        and (below := layer(package_of(path), target)) is not None
        and below > own
    ]

    assert wrong == []


def test_no_imports_go_in_a_circle():
    known = {module(path) for path in SOURCES}
    graph = {
        module(path): {target for target in imported(path, at_start=True) if target in known} - {module(path)}
        for path in SOURCES
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


def test_inside_a_package_imports_are_relative():
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.ImportFrom) and not node.level and top(node.module) == package_of(path))
        or (isinstance(node, ast.Import) and any(top(alias.name) == package_of(path) for alias in node.names))
    ]

    assert wrong == []


def test_pika_is_imported_where_amqp_is_spoken_and_nowhere_else():
    importing = {name(path) for path in SOURCES if any(top(target) == "pika" for target in imported(path))}

    assert importing <= MAY_IMPORT_PIKA


def test_capture_starts_with_modules_only_that_are_built_into_the_interpreter():
    capture = ROOT / "shim" / "capture.py"

    at_start = {top(target) for target in imported(capture, at_start=True)}
    ever = {top(target) for target in imported(capture)}

    assert at_start <= set(sys.builtin_module_names)
    assert ever <= set(sys.stdlib_module_names)
    assert not ever & SLOW_TO_IMPORT


def test_no_module_is_too_long():
    too_long = {name(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > LONGEST}

    assert {file: lines for file, lines in too_long.items() if file not in LONGER_FOR_A_REASON} == {}
    assert set(LONGER_FOR_A_REASON) <= set(too_long), "an exception that is no longer needed"


def test_no_function_is_longer_than_a_screen():
    too_long = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > 40
    ]

    assert too_long == []


def test_names_of_modules_say_something():
    assert [name(path) for path in SOURCES if NAMES_THAT_SAY_NOTHING & set(path.with_suffix("").parts)] == []


def test_there_is_no_shell_anywhere():
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and runs_a_shell(node)
    ]

    assert wrong == []


def test_every_module_says_what_it_is_about():
    assert [name(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(parsed(path))] == []


def test_docker_holds_no_python():
    # The Docker SDK has the same name.
    assert [name(path) for path in (ROOT / "docker").rglob("*.py")] == []


def test_no_file_knows_a_machine_or_a_package_index():
    # Put together here, so that this file does not hold them itself.
    machine = ["/wo" + "rk/", "/ro" + "ot/", "/home/" + r"[a-z]+/", r"\.pye" + "nv/"]
    index = ["py" + r"pi\.org", "python" + "hosted", "index" + "-url", r"registry\.npm", r"proxy\.golang"]
    forbidden = re.compile("|".join(machine + index))

    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in tracked()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]

    assert wrong == []


@pytest.mark.parametrize("source", ["import os\nos.system('x')", "import subprocess as s\ns.run('x', shell=True)"])
def test_a_shell_would_be_seen(source):
    assert any(runs_a_shell(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


def name(path):
    return path.relative_to(ROOT).as_posix()


def package_of(path):
    return path.relative_to(ROOT).parts[0]


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def top(target):
    return (target or "").split(".")[0]


def parsed(path):
    return ast.parse(path.read_text(), name(path))


def layer(package, target):
    """Return how high *target* is, or None where it has no layer."""
    words = target.split(".")
    below = [number for number, names in enumerate(LAYERS.get(package, [])) if len(words) > 1 and words[1] in names]
    return below[0] if below else None


def imported(path, *, at_start=False):
    """Return the full names of what *path* imports, those inside functions too unless *at_start*."""
    found = set()
    parts = module(path).split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in statements(parsed(path), functions=not at_start):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*origin, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from . import x` may name a module or something in the package.
                below = f"{target}.{alias.name}"
                found.add(below if is_module(below) else target)
    return found


def is_module(target):
    path = ROOT.joinpath(*target.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def statements(tree, *, functions):
    """Walk what runs: everything but `if TYPE_CHECKING`, and the insides of functions only if *functions*."""
    for node in ast.iter_child_nodes(tree):
        if not functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "MYPY"):
            continue
        yield node
        yield from statements(node, functions=functions)


def length(function):
    """Return the lines of *function* without its docstring."""
    said = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (len(said.splitlines()) if said else 0)


def runs_a_shell(call):
    shell = any(word.arg == "shell" and not is_false(word.value) for word in call.keywords)
    return shell or ast.unparse(call.func).endswith(("os.system", "os.popen", "create_subprocess_shell", "getoutput"))


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def tracked():
    """Return the files that belong to the project, as text files go."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("no git work tree: an unpacked release is not checked")
    files = [ROOT / file for file in listed.stdout.split("\0") if file]
    return [file for file in files if file.is_file() and not file.is_symlink()]
