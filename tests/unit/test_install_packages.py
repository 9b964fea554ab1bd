"""The script that installs Debian packages: which are missing, and no service of theirs starts."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

OWN = "#!/bin/sh\nexit 104\n"
SCRIPT = Path(__file__).parents[1] / "install-packages"
APT = """#!/bin/sh
echo "$@" >>"{log}"
"{policy}"; echo "policy $?" >>"{log}"
{end}
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the script installs nothing without root")


@pytest.fixture
def install(tmp_path):
    """A function that runs the script over an apt-get of the test's own; returns what that was called with."""
    policy, log = tmp_path / "policy-rc.d", tmp_path / "log"

    def run(*words, end="exit 0", before=None):
        if before is not None:
            policy.write_text(before)
        apt = tmp_path / "bin" / "apt-get"
        apt.parent.mkdir(exist_ok=True)
        apt.write_text(APT.format(log=log, policy=policy, end=end))
        apt.chmod(0o755)
        path = f"{apt.parent}:/usr/bin:/bin"
        environment = {"PATH": path, "POLICY_FILE": str(policy), "UNITS_FOLDER": str(tmp_path / "units")}
        done = subprocess.run([SCRIPT, *words], env=environment, capture_output=True, timeout=240, check=False)
        calls = log.read_text().splitlines() if log.exists() else []
        return done.returncode, calls, policy.read_text() if policy.exists() else None

    return run


def test_nothing_is_installed_where_nothing_is_missing(install):
    assert install("sh", "shell=/bin/s[h]") == (0, [], None)


@pytest.mark.parametrize("wanted", ["no-such-command", "no-such-command=/no/such/*/file"])
def test_what_is_missing_is_installed_and_no_service_may_start_meanwhile(install, wanted):
    code, calls, policy = install("sh", wanted)

    assert (code, policy) == (0, None)
    assert calls == [
        "-y -q -o DPkg::Lock::Timeout=300 install --no-install-recommends no-such-command",
        "policy 101",  # "forbidden", to invoke-rc.d
    ]


@pytest.mark.parametrize("code", [0, 100])
def test_a_policy_of_the_machines_own_is_put_back_also_after_a_failure(install, code):
    ended, _, policy = install("no-such-command", end=f"exit {code}", before=OWN)

    assert (ended, policy) == (code, OWN)


@pytest.mark.parametrize("before", [None, OWN])
def test_the_policy_is_put_back_also_after_an_earlier_run_was_killed(install, before):
    killed, _, left = install("no-such-command", end="kill -9 $PPID", before=before)
    ended, _, policy = install("no-such-command")

    assert killed == -signal.SIGKILL
    assert "exit 101" in left
    assert (ended, policy) == (0, before)
