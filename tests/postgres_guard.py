"""Guards the PostgreSQL of the tests: ends it when pytest ends, even by `kill -9`, and removes its folder.

    postgres_guard.py FOLDER SERVER-WORD ...

The guard holds the reading end of a pipe; the only writer is pytest.  When pytest closes it or ends in any way, the
guard ends the server.  It runs by its path with the standard library only, in a session of its own, so that Ctrl-C
reaches only pytest.
"""

import os
import shutil
import signal
import subprocess
import sys


def main(folder: str, *server: str) -> None:
    """Run *server* until standard input ends, then remove *folder*."""
    with subprocess.Popen(server, stdin=subprocess.DEVNULL) as process:
        os.read(0, 1)
        # The server ends at once, and its processes with it.
        process.send_signal(signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)  # the guard of an earlier start may have removed it


if __name__ == "__main__":
    main(*sys.argv[1:])
