"""Functions written down for the consumer: what goes with them, and what is refused."""

import functools
import linecache
import os.path
import subprocess
import sys
import threading
from pathlib import Path
from time import localtime, strftime

import pytest

from consumers.config import python_files
from consumers.gpfs.errors import Unwritable
from consumers.gpfs.functions.importable import Importables
from consumers.gpfs.functions.module_writer import write

LIMIT = {"mmfs1": [1, 2.5], "mmfs2": []}
LOCK = threading.Lock()
COUNT = 0


def written(function, folder=Path("/etc/clusterbus/handlers")):
    return write(function, Importables([folder]))


def loaded(function, tmp_path):
    """Return *function* as a consumer has it."""
    found = written(function)
    file = tmp_path / "callback.py"
    file.write_text(found.text)
    return getattr(python_files.load(str(file), None), found.name)


def doubled(text):
    return text * 2


def seen(fsName):  # noqa: N803 - a variable's name
    return doubled(os.path.normpath(fsName)), LIMIT[fsName], strftime("%Y", localtime(0))


def round_and_round(left):
    return and_round(left - 1) if left else "home"


def and_round(left):
    return round_and_round(left)


def locking():
    with LOCK:
        return 1


def counting():
    global COUNT  # noqa: PLW0603 - what the test is about
    COUNT += 1


def with_default(fsName, limits=LIMIT):  # noqa: N803 - a variable's name
    return limits[fsName]


def misspelled():
    return Loca_time()  # noqa: F821 - what the test is about


@functools.lru_cache
def remembered():
    return 1


@functools.wraps(doubled)
def wrapping(text):
    return text


class Tickets:
    def opened(self):
        return self


def test_imports_constants_and_functions_of_the_module_go_with_a_function(tmp_path):
    there = loaded(seen, tmp_path)

    assert there("mmfs1") == ("mmfs1mmfs1", [1, 2.5], "1970")
    assert there is not seen


def test_what_is_written_can_be_read_by_a_person():
    text = written(seen).text

    assert "import os\nimport os.path\n" in text or "import os\n" in text
    assert "from time import localtime\nfrom time import strftime\n" in text
    assert "LIMIT = {'mmfs1': [1, 2.5], 'mmfs2': []}\n" in text
    assert text.index("def doubled") < text.index("def seen")


def test_functions_may_call_one_another_in_a_circle(tmp_path):
    assert loaded(round_and_round, tmp_path)(3) == "home"


def test_what_a_default_needs_goes_before_the_function(tmp_path):
    assert loaded(with_default, tmp_path)("mmfs2") == []


def test_a_function_inside_another_keeps_its_texts(tmp_path):
    def handler():
        return """one
        two"""

    assert loaded(handler, tmp_path)() == handler()


@pytest.mark.parametrize(
    ("function", "reasons"),
    [
        (lambda: 1, ["lambda", "write a def"]),
        (
            locking,
            [
                "LOCK",
                f":{locking.__code__.co_firstlineno + 1}",
                "lock",
                "create it in the function",
                "/etc/clusterbus/handlers",
            ],
        ),
        (counting, ["sets the global COUNT", "keep it in a file"]),
        (misspelled, ["Loca_time", "which its module does not define"]),
        (remembered, ["not a function with source code", "write a def"]),
        (wrapping, ["wrapped by a decorator"]),
        (Tickets().opened, ["belongs to an object"]),
        (Tickets.opened, ["belongs to a class"]),
        (print, ["not a function with source code"]),
    ],
    ids=["lambda", "object", "global", "missing", "cached", "wrapped", "bound", "method", "builtin"],
)
def test_what_cannot_be_written_down_is_refused_with_what_where_and_the_way_out(function, reasons):
    with pytest.raises(Unwritable) as refused:
        written(function)

    for each in reasons:
        assert each in str(refused.value)


def test_what_a_function_uses_of_the_one_around_it_is_refused_by_name():
    threshold = 3

    def handler():
        return threshold

    with pytest.raises(Unwritable, match="uses threshold of the enclosing function"):
        written(handler)


def test_a_module_that_a_consumer_does_not_find_is_refused(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("def warn():\n    return 1\n")
    (tmp_path / "uses.py").write_text("import elsewhere\n\ndef handler():\n    return elsewhere.warn()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import uses  # noqa: PLC0415 - written just now

    with pytest.raises(Unwritable, match=r"module elsewhere \(.*uses.py:4\), which a consumer does not find"):
        written(uses.handler)
    # The same, in a folder of consumers.handlers, needs not be written at all.
    assert Importables([tmp_path]).reference(uses.handler) == "uses:handler"
    for name in ("uses", "elsewhere"):
        del sys.modules[name]


def test_a_function_whose_file_was_edited_since_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "edited.py"
    file.write_text("def handler():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import edited  # noqa: PLC0415 - written just now

    file.write_text("def handler():\n    return 2\n")

    with pytest.raises(Unwritable, match=r"differs from its source in .*, which was edited"):
        written(edited.handler)
    del sys.modules["edited"]


def test_a_function_that_is_installed_is_named_and_not_written():
    assert Importables([]).reference(os.path.normpath) == "posixpath:normpath"
    assert Importables([]).reference(seen) is None


PROMPTS = [
    "import math\n",
    "def halved(text):\n    return text[: math.ceil(len(text) / 2)]\n",
    "LEFT = 3\n",
    "def typed(fsName):\n    return halved(fsName) * LEFT\n",
]


@pytest.mark.parametrize("name", ["<python-input-{}>", "<ipython-input-{}-0a1b>", "<stdin>"])
def test_a_function_typed_at_a_prompt_is_written_if_the_prompt_keeps_its_source(name, tmp_path):
    space = {"__name__": "__main__"}
    for number, text in enumerate(PROMPTS):
        file = name.format(number)
        if "{}" in name:
            # As the prompt of Python 3.13 does, and IPython.
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "single" if "\n    " not in text else "exec"), space)

    if "{}" not in name:
        with pytest.raises(Unwritable, match=r"only IPython and the prompt of Python 3\.13 keep the source; use one"):
            written(space["typed"])
        return
    found = written(space["typed"])
    file = tmp_path / "callback.py"
    file.write_text(found.text)
    assert python_files.load(str(file), None).typed("gpfs1") == "gpfgpfgpf"


@pytest.mark.thorough
def test_a_real_prompt_keeps_the_source_or_the_way_out_is_told(tmp_path):
    lines = [
        "from consumers.gpfs.functions.module_writer import write",
        "from consumers.gpfs.functions.importable import Importables",
        "def typed(fsName): return fsName",
        "",
        "print(write(typed, Importables([])).text)",
    ]

    ended = subprocess.run(
        [sys.executable, "-q", "-i"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[4],
    )

    assert "def typed(fsName): return fsName" in ended.stdout or "write it into a file, and import it" in ended.stderr
