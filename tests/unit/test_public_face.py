"""The package `clusterbus`: what others may import, and a command that runs its own code only."""

import subprocess
import sys
from pathlib import Path

import pytest

import clusterbus
import consumers
import consumers.gpfs
import router
from clusterbus import gpfs, verbs

ROOT = Path(__file__).parents[2]


def test_what_is_public_is_the_same_object_by_all_its_names():
    assert clusterbus.on is consumers.on
    assert clusterbus.Rejected is consumers.Rejected
    assert clusterbus.Report is consumers.Report
    assert clusterbus.Event is router.Event
    assert issubclass(clusterbus.Refused, clusterbus.BrokerError)
    assert issubclass(clusterbus.Unreachable, clusterbus.BrokerError)
    assert {name: getattr(gpfs, name) for name in consumers.gpfs.__all__} == {
        name: getattr(consumers.gpfs, name) for name in consumers.gpfs.__all__
    }
    assert verbs.Handler is verbs.Verb.handler.__globals__["Handler"]


def test_a_name_that_does_not_exist_is_an_error_that_lists_those_that_do():
    with pytest.raises(
        AttributeError, match="clusterbus has no 'off'; it has BrokerError, Event, Refused, Rejected, Report"
    ):
        _ = clusterbus.off


@pytest.mark.parametrize("package", ["clusterbus", "consumers", "router"])
def test_types_are_shipped(package):
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("name", ["router", "consumers", "shim"])
def test_a_package_of_another_distribution_in_the_place_of_ours_stops_the_command(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("print('the code of others')\n")

    code = f"""
import sys
import clusterbus.__main__ as start
sys.path.insert(0, {str(tmp_path)!r})
start.main()
"""
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, cwd="/")

    assert ended.returncode == 1
    assert f"{name} is imported from {tmp_path / name / '__init__.py'}" in ended.stderr
    assert "virtual environment" in ended.stderr
    assert "the code of others" not in ended.stdout


@pytest.mark.parametrize("name", ["router", "consumers", "shim"])
def test_a_package_that_was_overwritten_by_another_distribution_stops_the_command(tmp_path, name):
    for each in ("clusterbus", "router", "consumers", "shim"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "__init__.py").write_bytes((ROOT / each / "__init__.py").read_bytes())
    (tmp_path / "clusterbus" / "__main__.py").write_bytes((ROOT / "clusterbus" / "__main__.py").read_bytes())
    (tmp_path / name / "__init__.py").write_text('"""Routes of a web framework."""\n')

    words = [sys.executable, "-S", "-m", "clusterbus", "--version"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)

    assert ended.returncode == 1
    assert f"{tmp_path / name / '__init__.py'} belongs to another distribution" in ended.stderr


def test_the_example_functions_can_be_copied_since_they_import_the_public_names_only():
    text = (Path(__file__).parents[2] / "consumers" / "verbs" / "call" / "examples.py").read_text()

    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]

    assert imports == ["from __future__ import annotations", "from clusterbus import Event, Rejected"]
