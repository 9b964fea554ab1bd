"""Whether a program can be started: what is said of it before, and what the kernel does with it."""

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.processes.child_process import ENVIRONMENT, PATH, User
from consumers.processes.executables import PossibleProblem, problem

NOT_STARTED = (125, 126, 127)
"""Exit codes of env where it cannot start what it is to start."""

GOOD = [
    "#!/bin/sh\n",
    "#!/bin/sh",
    "#! /bin/sh -e\n",
    "#!\t/bin/sh \t -e \t\n",
    "#!/usr/bin/env sh\n",
    "#!/usr/bin/env -S sh -e\n",
    "#!/usr/bin/env -S -i sh\n",
    "#!/usr/bin/env -S -u HOME A=b sh\n",
    "#!/usr/bin/env -S PATH=/bin sh\n",
    "#!/usr/bin/env -vS sh\n",
    "#!/usr/bin/env --split-string=sh -e\n",
    "#!/usr/bin/env --split=sh -e\n",
    "#!/usr/bin/env -iS /bin/sh\n",
    "#!/usr/bin/env -ivS sh -e\n",
    "#!/usr/bin/env -S sh\\_-e\n",
    "#!/usr/bin/env -S\\_sh\n",
    "#!/usr/bin/env -S sh # it's a note\n",
    "#!/usr/bin/env -S -S'sh -e'\n",
    "#!/usr/bin/env -S -iu HOME A=b sh\n",
    "#!/usr/bin/env -S -iuHOME sh\n",
    "#!/usr/bin/env -S --uns HOME sh\n",
    "#!/usr/bin/env -S --block-signal=PIPE sh\n",
    "#!/usr/bin/env -S - sh\n",
    "#!/usr/bin/env -S env -i sh\n",
    "#!/usr/bin/env -S -- PATH=/bin sh\n",
    "#!/usr/bin/env /bin/sh\n",
    "#!/bin/sh -e" + " " * 230 + "\n",
]
BAD = [
    "",
    "#!",
    "#!\n",
    "#!   \n",
    "#!/bin/sh\r\n",
    "#!/bin/sh -e\r\n",
    "#!/usr/bin/env sh\r\n",
    "#!/usr/bin/env nosuch\n",
    "#!/usr/bin/env -e -u\n",
    "#!/usr/bin/env sh -e\n",
    "#!/usr/bin/env -S nosuch\n",
    "#!/usr/bin/env -S PATH=/nowhere sh\n",
    "#!/usr/bin/env -S 'sh\n",
    "#!/usr/bin/env -S --nosuch sh\n",
    "#!/usr/bin/env -S A=b -- sh\n",
    "#!/usr/bin/env -S env -i nosuch\n",
    "#!/usr/bin/env --split-string sh\n",
    "#!/no/such/sh\n",
    "#!/etc\n",
    "#!/etc/passwd\n",
    "\ufeff#!/bin/sh\n",
    "\n#!/bin/sh\n",
    "#!/" + "x" * 300 + "\n",
    "\x7fELF" + "\x02\x01\x01" + "\0" * 9 + "\x02\x00\xf3\x00" + "\0" * 100,
]


@pytest.fixture
def script(tmp_path):
    return tmp_path / "script"


def put(file, text, mode=0o755):
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return str(file)


def starts(path):
    """Return whether the kernel starts *path*."""
    try:
        ended = subprocess.run(
            [path], check=False, env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode not in NOT_STARTED and b"Illegal option" not in ended.stderr


@pytest.mark.parametrize("text", GOOD)
def test_what_the_kernel_starts_is_good(script, text):
    path = put(script, text)

    assert problem(path) == ""
    assert starts(path)


@pytest.mark.parametrize("text", BAD)
def test_what_the_kernel_does_not_start_is_named(script, text):
    path = put(script, text)

    assert path in problem(path)
    assert not starts(path)


@pytest.mark.parametrize("line", ["-S ${NO_SUCH}sh", r"-S s\x", r"-S sh \\", "-S nosuch#", "-S ./nosuch"])
def test_of_what_only_env_can_tell_nothing_is_said(script, line):
    assert problem(put(script, f"#!/usr/bin/env {line}\n")) == ""


@pytest.mark.parametrize("line", ["--nosuch sh", "-S 'sh", "-x"])
def test_a_form_that_another_env_may_know_is_a_doubt_and_what_is_certain_comes_first(script, line):
    path = put(script, f"#!/usr/bin/env {line}\n")

    assert isinstance(problem(path), PossibleProblem)
    assert isinstance(problem(put(script.with_name("outer"), f"#!{path}\n")), PossibleProblem)
    script.chmod(0o644)
    assert problem(path) == f"{path} is not executable: run chmod +x"


@pytest.mark.parametrize("option", ["-iS", "-S -u PATHS", "-S -u PATH", "-S --unset=PATH"])
def test_without_a_path_env_looks_where_the_system_looks(script, option):
    path = put(script, f"#!/usr/bin/env {option} sh\n")

    assert (problem(path, search="/nowhere") == "") == (option != "-S -u PATHS")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from(
            [
                "/bin/true",
                "/usr/bin/env",
                "/bin/no",
                "-S",
                "-i",
                "-e",
                "true",
                "nosuch",
                "A=b",
                " ",
                "\t",
                "\r",
                "-u X",
                "-iS",
                "--uns X",
            ]
        ),
        max_size=5,
    )
)
def test_the_first_line_is_read_as_the_kernel_reads_it(tmp_path, words):
    line = " ".join(words)
    path = put(tmp_path / "script", f"#!{line}\nexit 0\n")

    said = problem(path)
    # The first never ends.  A CR at the end is an argument that true takes, and a shell does not.
    if "again and again" not in said and not (line.endswith("\r") and "true " in line):
        assert starts(path) == (said == ""), (line, said)


def test_a_program_is_found_as_the_command_will_find_it(tmp_path):
    put(tmp_path / "own", "#!/bin/sh\n")

    assert problem("sh") == ""
    assert problem("own", search=str(tmp_path)) == ""
    assert problem("own") == f"there is no program 'own' in the PATH of commands ({PATH})"
    assert "does not exist on this machine" in problem(str(tmp_path / "gone"))
    assert "is not a regular file" in problem(str(tmp_path))
    assert "run chmod +x" in problem(put(tmp_path / "plain", "#!/bin/sh\n", 0o644))


def test_scripts_that_interpret_each_other_come_to_an_end(tmp_path):
    put(tmp_path / "a", f"#!{tmp_path}/b\n")
    path = put(tmp_path / "b", f"#!{tmp_path}/a\n")

    assert "too many scripts" in problem(path)
    assert not starts(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
@pytest.mark.parametrize(
    ("mode", "above", "owner"),
    [
        (0o755, 0o755, 0),
        (0o700, 0o755, 0),
        (0o711, 0o755, 0),
        (0o755, 0o700, 0),
        (0o750, 0o755, 0),
        (0o700, 0o755, 65534),
    ],
)
def test_another_user_may_start_what_its_modes_allow(tmp_path, mode, above, owner):
    nobody = User.named("nobody")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = put(folder / "script", "#!/bin/sh\n", mode)
    os.chown(path, owner, -1)
    folder.chmod(above)
    for each in folder.parents:
        if each.is_relative_to("/tmp") and each.owner() == "root" and each != each.parent and str(each) != "/tmp":
            each.chmod(0o755)

    def is_started():
        try:
            ended = subprocess.run(
                [path], check=False, user=nobody.user, group=nobody.group, extra_groups=nobody.groups, cwd="/"
            )
        except PermissionError:
            return False
        return ended.returncode == 0

    assert (problem(path, nobody) == "") == is_started()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_nothing_starts_on_a_file_system_mounted_noexec(tmp_path):
    mounting = ["mount", "-t", "tmpfs", "-o", "noexec", "none", str(tmp_path)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        path = put(tmp_path / "script", "#!/bin/sh\n")

        assert "mounted with noexec" in problem(path)
        assert not starts(path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_our_own_interpreter_is_good():
    assert problem(sys.executable) == ""
    assert problem(shutil.which("env")) == ""
