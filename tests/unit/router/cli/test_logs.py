"""Logs: libraries from WARNING on, no secrets, no local variables; in lines for programs and in those for people."""

import os
import subprocess
import sys

import pytest

SECRET = "hunter22xyz"
PROGRAM = f"""
import logging, sys, threading
from router import redaction
from router.cli import logging as logs

logs.configure(form="json" if sys.argv[1] == "json" else "console", level=sys.argv[2])
redaction.remember("{SECRET}")
logging.getLogger("httpx2").info("HTTP Request: POST http://hooks.example.com/%s", "{SECRET}")
logging.getLogger("urllib3.connectionpool").debug("https://u:other@mq1/")
logging.getLogger("sqlalchemy.engine").info("SELECT 1")
logging.getLogger("urllib3").warning("Retrying (%s) after /%s of http://u:other-one@h/?q=other-one", 3, "{SECRET}")
log = logging.getLogger("consumers.delivery.engine")
log.info("heard", extra={{"facts": {{"url": ["amqp://u:other-one@mq1/"], "{SECRET}": 1}}, "path": "{SECRET}"}})

def fall(password):
    headers = {{"Authorization": password}}
    raise ValueError(f"no use for {{password}}")

try:
    fall("{SECRET}")
except ValueError:
    log.exception("failed")
thread = threading.Thread(target=fall, args=["{SECRET}"])
thread.start()
thread.join()
fall("{SECRET}")
"""


@pytest.mark.parametrize("kind", ["json", "text"])
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_nothing_that_is_logged_or_ends_a_program_holds_a_secret(kind, level):
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CLUSTERBUS_")}
    words = [sys.executable, "-c", PROGRAM, kind, level]

    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 1
    # The program's own text is not shown: it comes from no file.
    said = done.stdout + done.stderr
    assert SECRET not in said
    assert "other" not in said
    assert all(word not in said for word in ("httpx2", "SELECT", "HTTP Request", "connectionpool"))
    assert all(word in said for word in ("Retrying (3)", "heard", "failed", "no use for ***"))
    assert said.count("no use for ***") >= 3


@pytest.mark.thorough
def test_a_sites_own_functions_are_heard_from_our_level_on(tmp_path):
    (tmp_path / "handlers").mkdir()
    text = "import logging\n\ndef warn():\n    logging.getLogger(__name__).info('said by the site')\n"
    (tmp_path / "handlers" / "site_handlers.py").write_text(text)
    program = f"""
from pathlib import Path
from consumers.config import python_files
from consumers.verbs.call.references import find
from router.cli import logging as logs

logs.configure(form="json")
find("site_handlers:warn", [Path({str(tmp_path / "handlers")!r})]).function()
python_files.execute("/x.py", b{text!r}).warn()
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)

    assert done.stderr.count("said by the site") == 2
