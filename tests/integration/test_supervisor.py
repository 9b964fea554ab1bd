"""Programs that are kept running: real children, real falls."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from consumers.programs.supervisor import Supervisor, relay_environment
from shim.settings import load
from tests.consuming import is_gone
from tests.waiting import wait_for

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def pid_of(program) -> int:
    assert program.process is not None
    return program.process.pid


def test_a_program_that_falls_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        program = supervisor.start("sleeper", SLEEPER)
        first = pid_of(program)

        os.kill(first, signal.SIGKILL)

        def again() -> bool:
            supervisor.tend()
            return program.process is not None and program.process.pid != first

        wait_for(again, 20, "it runs again")
        assert program.exits == 1
        second = pid_of(program)
    assert is_gone(second)


def test_all_are_ended_also_one_that_will_not_listen(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    pids = [pid_of(supervisor.start(name, words)) for name, words in (("a", SLEEPER), ("b", STUBBORN))]
    wait_for(lambda: (tmp_path / "b.log").read_text() == "up\n", 20, "the stubborn one runs")

    begun = time.monotonic()
    supervisor.close(patience=1)

    assert time.monotonic() - begun < 60
    assert all(map(is_gone, pids))


def test_what_was_started_ends_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from consumers.programs.supervisor import Supervisor\n"
        f"program = Supervisor(Path({str(tmp_path)!r})).start('child', {SLEEPER!r})\n"
        "print(program.process.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: (tmp_path / "child.log").read_text() == "up\n", 20, "the child runs")

        parent.kill()
        parent.wait(120)

        wait_for(lambda: is_gone(child), 20, "the child is gone")


def test_the_relay_is_told_its_password_by_a_file_that_is_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "password"

    told = relay_environment(["amqp://u:p%2Fw@mq.example:5673/v"], file)

    assert told["CLUSTERBUS_RELAY_BROKER"] == "amqp://u@mq.example:5673/v"
    assert file.read_text() == "p/w\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_relay_gets_all_brokers_that_have_its_password(tmp_path: Path) -> None:
    urls = ["amqp://u:p@mq1/v", "amqp://u:p@mq2/v", "amqp://u:other@mq3/v"]

    environment = relay_environment(urls, tmp_path / "password")

    settings = load(["--allow-root", "--cluster", "prod"], environment | {"CLUSTERBUS_RELAY_CONFIG": ""})
    assert [each.host for each in settings.brokers] == ["mq1", "mq2"]
