"""The shape of the project: what may be where, and what must not be written down.

Which package may import which is checked by import-linter, with the contracts of pyproject.toml.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shim", "router", "consumers", "clusterbus", "packages")
MAY_PRINT: dict[str, str] = {
    "clusterbus/__main__.py": "it runs before it is certain whose modules would be imported",
    "packages/__main__.py": "a tool of the build, which the Makefile runs",
    "packages/move_state.py": "a program of its own, which the package runs where nothing of ours may run yet",
    "router/cluster/fleet/fanout_program.py": "a program of its own, whose lines a program reads",
    "router/simulator/__main__.py": "a program of its own, which prints what mm commands do",
    "shim/installer.py": "a program of its own, which is sent to nodes; a program reads its line",
}
MAY_IMPORT_PIKA = {"router/broker/amqp/pika_connection.py", "shim/connection.py", "shim/publisher.py"}
LONGEST = 300
LONGER_FOR_A_REASON: dict[str, str] = {
    "shim/capture.py": "one file, that nodes can be given by itself",
    "shim/installer.py": "idem: it is sent to nodes as it is, and nothing of ours is there yet",
    "shim/publisher.py": "one state machine: each part of it needs the others' state",
}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc", "manager"}

WRITING = {f"sys.{stream}.{how}" for stream in ("stdout", "stderr") for how in ("write", "writelines", "buffer.write")}
PRINTING = {"echo", "echo_via_pager", "secho", "style", "confirm", "prompt", "progressbar", "run"}

# What the capture may import when it starts costs nothing: it is compiled into the interpreter.
SLOW_TO_IMPORT = {"argparse", "ctypes", "datetime", "json", "logging", "pathlib", "re", "subprocess", "typing", "uuid"}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
assert SOURCES, "there is something to check"


def test_inside_a_package_imports_are_relative():
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        for node in nodes(path)
        if (isinstance(node, ast.ImportFrom) and not node.level and top(node.module) == package_of(path))
        or (isinstance(node, ast.Import) and any(top(alias.name) == package_of(path) for alias in node.names))
    ]

    assert wrong == []


def test_pika_is_imported_where_amqp_is_spoken_and_nowhere_else():
    importing = {name(path) for path in SOURCES if any(top(target) == "pika" for target in imported(path))}

    assert importing == MAY_IMPORT_PIKA


def test_only_the_module_of_output_prints():
    printing = {name(path) for path in SOURCES if any(prints(node) for node in nodes(path))}

    assert printing - MAY_PRINT.keys() == set()
    assert MAY_PRINT.keys() - printing == set(), "an exception that is no longer needed"


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "import typer\ntyper.echo(1)",
        "from typer import confirm",
        "from rich.console import Console",
        "import rich",
        "import click",
        "import sys\nsys.stderr.write('x')",
        "import typer\ntyper.run(main)",
        "import typer\ntyper.Typer()",
    ],
)
def test_output_that_goes_elsewhere_would_be_seen(source):
    assert any(prints(node) for node in ast.walk(ast.parse(source)))


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
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > 40
    ]

    assert too_long == []


def test_a_folder_holds_at_most_twelve_modules():
    folders = {path.parent for path in SOURCES} - {ROOT / "shim"}  # flat: nodes get it as one folder
    counts = {
        name(folder): len([path for path in folder.glob("*.py") if path.stem != "__init__"]) for folder in folders
    }

    assert {folder: count for folder, count in counts.items() if count > 12} == {}


def test_no_module_name_is_used_twice_in_a_tree():
    # One of each in parallel folders, on purpose; commands are named after their group.
    parallel = {
        "__init__",
        "__main__",
        "errors",
        "models",
        "schema",
        "decoder",
        "registrar",
        "plan",
        "options",
        "verb",
        "env",
        "interface",
    }
    for tree in ("router", "consumers"):
        stems = [
            path.stem for path in SOURCES if package_of(path) == tree and path.parent.name not in ("cli", "versions")
        ]
        twice = {stem for stem in stems if stems.count(stem) > 1}
        assert twice - parallel == set()


def test_names_of_modules_say_something():
    assert [name(path) for path in SOURCES if NAMES_THAT_SAY_NOTHING & set(path.with_suffix("").parts)] == []


def test_there_is_no_shell_anywhere():
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Call) and runs_a_shell(node)
    ]

    assert wrong == []


def test_our_own_programs_are_started_in_one_way_whatever_lies_in_the_current_directory():
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        if package_of(path) != "shim" and name(path) != "router/interpreter.py"
        for node in nodes(path)
        if starts_python(node)
    ]

    assert wrong == []


def test_what_runs_python_by_itself_keeps_the_current_directory_out_of_it():
    # Units, shims' first lines, what is sent to nodes: `-I`, or `-P` where modules of ours are run by their names.
    texts = [*(ROOT / "router").rglob("*"), *(ROOT / "consumers").rglob("*"), *(ROOT / "shim").rglob("*")]
    texts += (ROOT / "packages").rglob("*")
    texts += [ROOT / "docker" / "compose.yaml", ROOT / "docker" / "README.md"]
    starts = re.compile(r"^(?:#!|ExecStart=)\S*python3?(?: |$)|\bpython3 -\w+ ", re.MULTILINE)

    wrong = [
        f"{name(path)}: {line.strip()}"
        for path in texts
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".svg", ".json"}
        for line in path.read_text(encoding="utf-8").splitlines()
        if starts.search(line) and not re.search(r"python3? -(I|IS|P) ?", line)
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


@pytest.mark.parametrize("source", ["sys.executable", "from sys import executable", "['python3', '-m', 'shim.relay']"])
def test_a_start_of_python_would_be_seen(source):
    assert any(starts_python(node) for node in ast.walk(ast.parse(source)))


def name(path):
    return path.relative_to(ROOT).as_posix()


def package_of(path):
    return path.relative_to(ROOT).parts[0]


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def top(target):
    return (target or "").split(".")[0]


@cache
def parsed(path):
    return ast.parse(path.read_text(), name(path))


@cache
def nodes(path):
    return list(ast.walk(parsed(path)))


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


def starts_python(node):
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and any(alias.name == "executable" for alias in node.names)
    if isinstance(node, ast.List | ast.Tuple):
        return any(isinstance(each, ast.Constant) and each.value in {"python", "python3"} for each in node.elts)
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable"


def prints(node):
    """Say whether *node* puts text on a terminal by itself, or has another library do it with markup."""
    if isinstance(node, ast.Import):
        return any(top(alias.name) in ("rich", "click") for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names} if node.module == "typer" else set()
        return (top(node.module) in ("rich", "click") and not node.level) or bool(names & PRINTING)
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    if called == "typer.Typer":
        # A group takes this from the program that it is part of, which names itself.
        return not {"help", "rich_markup_mode"} & {word.arg for word in node.keywords}
    first, _, last = called.rpartition(".")
    return called == "print" or called in WRITING or (first == "typer" and last in PRINTING)


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
