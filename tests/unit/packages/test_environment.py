"""The environment of the package: one folder of modules for several releases of Python."""

from pathlib import Path

import pytest

from packages import environment
from router.errors import Refused


def distribution(folder: Path, name: str, *needs: str) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *(f"Requires-Dist: {each}" for each in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_what_an_older_python_needs_in_addition_is_found(tmp_path: Path) -> None:
    distribution(tmp_path, "one", "Two_Words>=1", 'backport; python_version < "3.12"', 'dev; extra == "test"')
    distribution(tmp_path, "two-words")

    assert environment.lacking(tmp_path, "3.11") == ['backport; python_version < "3.12"']
    assert environment.lacking(tmp_path, "3.12") == []


def test_wheels_that_serve_each_python_are_taken_once(tmp_path: Path) -> None:
    tags = {
        "pure": "py3-none-any",
        "stable": "cp39-abi3-manylinux_2_28_x86_64",
        "built": "cp311-cp311-linux_x86_64",
        "bound": "cp311-none-any",
    }
    for name, tag in tags.items():
        distribution(tmp_path, name)
        (tmp_path / f"{name}-1.dist-info" / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    distribution(tmp_path, "unknown")

    assert environment.compiled(tmp_path) == ["bound==1", "built==1", "unknown==1"]


def test_modules_of_several_pythons_stand_side_by_side(tmp_path: Path) -> None:
    for version in ("311", "313"):
        for name, text in (("a.py", "same"), (f"b.cpython-{version}.so", version), ("x-1.dist-info/RECORD", version)):
            path = tmp_path / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        environment.merge(tmp_path / version, tmp_path / "all")

    found = sorted(str(each.relative_to(tmp_path / "all")) for each in (tmp_path / "all").rglob("*") if each.is_file())
    assert found == ["a.py", "b.cpython-311.so", "b.cpython-313.so"]


def test_a_file_that_differs_from_python_to_python_is_refused(tmp_path: Path) -> None:
    for version in ("311", "313"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.py").write_text(version)
    environment.merge(tmp_path / "311", tmp_path / "all")

    with pytest.raises(Refused, match=r"a\.py is not the same file for each of Python 3\.11, 3\.12, 3\.13"):
        environment.merge(tmp_path / "313", tmp_path / "all")
