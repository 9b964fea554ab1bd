"""What is sent where systemd listens, also where it reads late."""

import socket
import threading

import pytest

from router.programs.systemd_notify import Notifier
from tests.waiting import wait_for


@pytest.mark.long
@pytest.mark.thorough
def test_nothing_is_lost_while_systemd_is_busy(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        filler = threading.Thread(target=lambda: [notifier.alive() for _ in range(600)] + [notifier.ready()])
        filler.start()
        told = []

        def read():
            told.append(systemd.recv(100).decode())
            return told[-1] == "READY=1"

        wait_for(read, 30, "READY=1 comes after all others")
        filler.join()
    assert told == ["WATCHDOG=1"] * 600 + ["READY=1"]
