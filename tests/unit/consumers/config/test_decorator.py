"""Subscriptions that are declared in code come to the same as in YAML."""

import sys

import pytest

from consumers import on
from consumers.subscriptions.validation import check, load
from consumers.verbs.interface import Surroundings
from router.model.catalogue import Catalogues
from router.settings.models import ConsumersSettings, Settings
from tests.consuming import make_delivery, make_event

SHIPPED = Catalogues.shipped()
HEAD = "from consumers import on\n\n"
SIMPLE = (
    HEAD
    + """
@on("softQuotaExceeded", where="data.blockUsage > 5", retry={"attempts": 3}, concurrency=2)
def warn_storage(fsName):
    return fsName
"""
)


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """What is loaded is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("clusterbus_handlers_"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """A function that writes a handlers file."""

    def written(text, name="site.py"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return written


def said(file, settings=None):
    """Return the mistakes in a handlers file, without its folder."""
    return [str(each).replace(f"{file.parent}/", "") for each in check(file, SHIPPED, settings).mistakes]


def served(subscription, event=None):
    event = event or make_event()
    handler = subscription.verb.handler(Surroundings("a"))
    return handler(make_delivery(event))


def test_a_decorator_says_what_an_entry_says(write, tmp_path):
    file = write(SIMPLE)
    yaml = tmp_path / "same.yaml"
    yaml.write_text(
        "version: 1\nsubscriptions:\n  - name: warn-storage\n    on: softQuotaExceeded\n"
        "    where: data.blockUsage > 5\n"
        f"    retry: {{attempts: 3}}\n    concurrency: 2\n    call: {file}:warn_storage\n"
    )

    (found,) = load(file, SHIPPED).subscriptions
    (same,) = load(yaml, SHIPPED).subscriptions

    assert (found.file, found.line) == (str(file), 4)
    changed = {"line": 0, "file": "", "verb": same.verb}
    assert found.model_copy(update=changed) == same.model_copy(update=changed)
    assert found.verb.function == same.verb.function == f"{file}:warn_storage"
    assert served(found).result == served(same).result == {"value": "gpfs1"}


def test_a_folder_may_have_both(write, tmp_path):
    write(SIMPLE)
    (tmp_path / "more.yaml").write_text("version: 1\nsubscriptions: [{name: audit, on: quota, log: {}}]\n")

    assert set(load(tmp_path, SHIPPED).by_name) == {"warn-storage", "audit"}


def test_decorators_stack_and_leave_the_function_as_it_is(write):
    file = write(
        HEAD
        + '@on("softQuotaExceeded", name="one", isolate=True, timeout="5s", with_={"level": 1})\n'
        + '@on("diskFailure", "quota", name="two")\ndef both(event, level=0):\n    return level\n'
    )

    found = load(file, SHIPPED).by_name

    assert [found["one"].line, found["two"].line] == [3, 4]
    assert found["two"].on == ("diskFailure", "quota")
    assert found["one"].verb.isolate
    assert found["one"].verb.fixed == {"level": 1}
    assert on("softQuotaExceeded")(served) is served


def test_mistakes_have_the_line_of_the_decorator(write):
    file = write(
        HEAD
        + '@on("softQuotaExceded")\ndef first(fsName): ...\n'
        + '@on("softQuotaExceeded", wehre="true")\ndef second(fsName): ...\n'
        + '@on("softQuotaExceeded", where="data.blokUsage > 5")\ndef third(fsNme): ...\n'
        + '@on("softQuotaExceeded", retry={"attempts": 0})\ndef Fourth(): ...\n'
        + '@on("softQuotaExceeded", name="second", run={"command": ["/bin/true"]})\ndef fifth(): ...\n'
        + "@on()\ndef sixth(): ...\n"
    )

    mistakes = said(file)

    for expected in (
        "site.py:3: first: on.1: no event type, category or pattern 'softQuotaExceded'; did you mean softQuotaEx",
        "site.py:5: second: wehre: unknown key; did you mean where?",
        "site.py:7: third: where: no variable data.blokUsage; did you mean block",
        "site.py:9: Fourth: retry.attempts: ",
        "site.py:9: Fourth: name: must be 1 to 63 characters of a-z",
        "site.py:11: second: call: has the verbs run and call: write a subscription for each",
        "site.py:11: second: name: the name second is already used at site.py:5",
        "site.py:13: sixth: on: is empty",
    ):
        assert any(each.startswith(expected) for each in mistakes), (expected, mistakes)


def test_an_unknown_parameter_is_told_with_its_line(write):
    file = write(HEAD + '\n\n@on("softQuotaExceeded")\ndef warn(fsNme): ...\n')

    assert said(file) == [
        "site.py:5: warn: call.function: parameter fsNme: no variable data.fsNme; did you mean fsName or filesetName?",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("x = 1\n\n1 / 0\n", "site.py:3: cannot be loaded: ZeroDivisionError: division by zero"),
        ("def f(:\n", "site.py:1: cannot be loaded: SyntaxError: invalid syntax"),
        (
            "import no_such_module\n",
            "site.py:1: cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("import sys\nsys.exit(0)\n", "site.py:2: cannot be loaded: SystemExit: 0"),
        (
            "x = 1\n",
            'site.py: declares no subscription: put @on("softQuotaExceeded") above a function; put helper modules',
        ),
        (HEAD + "@on\ndef f(): ...\n", "site.py:3: cannot be loaded: TypeError: @on needs events, such as @on("),
        (
            HEAD + "def make():\n    @on('quota')\n    def inner(): ...\nmake()\n",
            "site.py:4: inner: make.<locals>.inner has no name in the file",
        ),
        (
            HEAD + "@on('quota')\ndef f(): ...\n\n@on('quota', name='g')\ndef f(fsName): ...\n",
            "site.py:3: f: f has no name in the file: another value has taken the name,",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_where(write, text, mistake):
    assert any(each.startswith(mistake) for each in said(write(text))), said(write(text))


def test_a_file_that_anybody_may_write_to_is_not_loaded(write, capsys):
    file = write(HEAD + "print('loaded')\n")
    file.chmod(0o666)

    (mistake,) = said(file)
    assert mistake.startswith("site.py: is not read: site.py is writable by other users (it is ")
    assert mistake.endswith(", 0666): run chmod go-w site.py")
    assert "loaded" not in capsys.readouterr().out


def test_what_a_file_prints_does_not_come_between_a_commands_output(write, capsys):
    load(write("print('hello')\n" + SIMPLE), SHIPPED)

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_the_module_that_was_checked_is_the_one_that_is_called(write):
    file = write(SIMPLE.replace("return fsName", "return __name__"))
    before = set(sys.modules)
    (found,) = load(file, SHIPPED).subscriptions
    loaded = [name for name in set(sys.modules) - before if name.startswith("clusterbus_handlers_")]

    file.write_text("raise OSError\n")

    assert [served(found).result["value"]] == loaded


def test_a_file_that_changed_is_another_module_and_another_digest(write):
    file = write(SIMPLE)
    first = load(file, SHIPPED)

    file.write_text(SIMPLE.replace("return fsName", "return 2"))
    second = load(file, SHIPPED)

    assert first.digest != second.digest
    assert [served(each.subscriptions[0]).result["value"] for each in (first, second)] == ["gpfs1", 2]


def test_what_changed_between_check_and_start_is_refused(write):
    file = write(SIMPLE)
    (found,) = load(file, SHIPPED).subscriptions
    file.write_text(SIMPLE + "# changed\n")
    for name in [name for name in sys.modules if name.startswith("clusterbus_handlers_")]:
        del sys.modules[name]

    with pytest.raises(Exception, match="has changed since it was checked: reload"):
        served(found)


def test_a_file_may_import_from_the_settings_folders(write, tmp_path):
    folder = tmp_path / "handlers"
    folder.mkdir()
    (folder / "site_on_test_helpers.py").write_text("LEVEL = 7\n")
    file = write(SIMPLE.replace("    return fsName", "    import site_on_test_helpers as h\n    return h.LEVEL"))

    (found,) = load(file, SHIPPED, Settings(consumers=ConsumersSettings(handlers=(folder,)))).subscriptions

    assert served(found).result == {"value": 7}


def test_methods_and_objects_may_be_declared(write):
    file = write(
        HEAD
        + "class Tickets:\n    @on('quota', name='method')\n    def opened(self, fsName):\n        return [fsName]\n"
        + "    def __call__(self, fsName):\n        return fsName\n\n"
        + "tickets = on('quota', name='object')(Tickets())\n"
    )

    found = load(file, SHIPPED).by_name

    assert served(found["method"]).result == {"value": ["gpfs1"]}
    assert served(found["object"]).result == {"value": "gpfs1"}
