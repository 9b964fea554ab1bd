"""Programs of ours that tests start, forked from one process that has imported all of them: a tenth of a start's time.

`python -m tests.forking FD` is that process.  It forks a program for each request that it reads from the socket FD, and
writes the program's pid and exit code to the pipe that came with the request.  Only pytest's processes have one (see
`conftest`): benchmarks start what a site starts.
"""

import atexit
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from uuid import uuid4

from tests.processes import Signal, bind, bound

ROOT = Path(__file__).parents[1]
_LARGEST = 1 << 20
_STARTED = 240.0
MODULES = {
    "clusterbus": "clusterbus.__main__",
    "consumers.cli.main": "consumers.cli.main",
    "tests.consuming": "tests.consuming",
    "tests.operating": "tests.operating",
}
"""What is forked where a test starts `python -m` with it, and the module whose `main` that is."""


class Forked:
    """A forked program; what tests need of `subprocess.Popen`."""

    def __init__(self, answers: int) -> None:
        self._answers, self._text = answers, ""
        self.returncode: int | None = None
        assert self._has_read(1, _STARTED), "the program is not forked"
        self.pid = int(self._text.partition("\n")[0])

    def _has_read(self, lines: int, limit: float) -> bool:
        """Read answers for at most *limit* seconds; return whether there are as many *lines*."""
        deadline = time.monotonic() + limit
        while self._text.count("\n") < lines:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
            answer = os.read(self._answers, 64).decode()
            # Without an answer the process that forks is gone, and all that it has forked.
            self._text += answer or "\n" * lines
        return True

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        if self.returncode is None and self._has_read(2, 0):
            self.returncode = int(self._text.split("\n")[1] or -signal.SIGKILL)
            os.close(self._answers)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return its exit code once it has ended; raises TimeoutExpired."""
        if self.returncode is None and not self._has_read(2, timeout):
            raise subprocess.TimeoutExpired(f"the program of pid {self.pid}", timeout)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send it the signal *number*, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that programs are forked from; it is started when the first one is wanted."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], cwd: Path, output: int, *, session: bool
    ) -> Forked:
        """Fork `python -m` *words*, with its output into the file descriptor *output*."""
        request = {"words": words, "environment": dict(environment), "cwd": str(cwd), "session": session}
        mine, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._connected(), [json.dumps(request).encode()], [output, theirs])
        finally:
            os.close(theirs)
        return Forked(mine)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for each in (self._socket, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LARGEST)
            words = bound([sys.executable, "-m", "tests.forking", str(theirs.fileno())])
            with theirs:
                self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        return self._socket

    def close(self) -> None:
        """End it, and all programs that it has forked."""
        if self._socket is not None:
            self._socket.close()
            self._process.wait(120)


_forks: list[Forks] = []


@contextmanager
def allowed() -> Iterator[None]:
    """Until the block ends, what this process starts may be forked."""
    forks = Forks()
    _forks.append(forks)
    try:
        yield
    finally:
        _forks.remove(forks)
        forks.close()


Program = Forked | subprocess.Popen[bytes]


def start(
    command: Sequence[str],
    output: int,
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    session: bool = False,
    end: Signal = "KILL",
) -> Program:
    """Start *command* with its output into the file descriptor *output*: forked if it may be, else as it is."""
    is_ours = list(command[:2]) == [sys.executable, "-m"] and command[2] in MODULES
    # A library is preloaded by the kernel's start of a program only.
    if _forks and end == "KILL" and is_ours and "LD_PRELOAD" not in environment:
        return _forks[-1].start(command[2:], environment, cwd or Path.cwd(), output, session=session)
    return subprocess.Popen(
        bound(command, end),
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=session,
    )


def run(command: Sequence[str], folder: Path, *, environment: Mapping[str, str], cwd: Path | None = None) -> "Ended":
    """Run *command* to its end, and return its exit code and output; *folder* is for a file with the output."""
    file = folder / f"output-{uuid4().hex}"
    with file.open("wb") as output:
        code = start(command, output.fileno(), environment=environment, cwd=cwd).wait(240)
    return Ended(code, file.read_text("utf-8", "surrogateescape"))


class Ended(NamedTuple):
    """How a program ended: its exit *code*, and all its *output*, on stdout and stderr."""

    code: int
    output: str


def main() -> None:
    """Fork programs until the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    import_all()
    for each in MODULES.values():
        importlib.import_module(each)
    assert threading.active_count() == 1, "a fork has one thread"
    gc.freeze()
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is control:
                    text, fds, _, _ = socket.recv_fds(control, _LARGEST, 2)
                    if not text:
                        return
                    _fork(json.loads(text), fds, ready)
                else:
                    _report(key, ready)


def _fork(request: Mapping[str, Any], fds: Sequence[int], ready: selectors.BaseSelector) -> None:
    output, answers = fds
    pid = os.fork()
    if not pid:
        bind()
        os.close(answers)
        for each in ready.get_map().values():
            os.close(each.fd)
        _be(request, output)
    os.close(output)
    os.write(answers, b"%d\n" % pid)
    ready.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def _report(key: selectors.SelectorKey, ready: selectors.BaseSelector) -> None:
    pid, answers = key.data
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(answers, b"%d\n" % code)
    ready.unregister(key.fileobj)
    os.close(key.fd)
    os.close(answers)


def import_all() -> None:
    """Import what programs import when they are called, which takes most of their time."""
    for package in ("router", "consumers"):
        for each in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            # They run where they are imported.
            if each.name.rpartition(".")[2] not in {"env", "__main__"}:
                importlib.import_module(each.name)


def _be(request: Mapping[str, Any], output: int) -> NoReturn:
    """Be the program, as the interpreter would run it."""
    code: Any = 99
    try:
        if request["session"]:
            os.setsid()
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        if "PYTHONFAULTHANDLER" in os.environ:
            faulthandler.enable()
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        name, *sys.argv[1:] = request["words"]
        module = sys.modules[MODULES[name]]
        sys.argv[0] = str(module.__file__)
        module.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        sys.excepthook(*sys.exc_info())
        code = 1
    if not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    with suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
