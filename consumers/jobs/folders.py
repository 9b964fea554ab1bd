"""A job as it is on disk: what was asked for, who is at it, what it said, and, written last and whole, how it ended.

| file | written | holds |
|---|---|---|
| `request.json`, `input` | before the job is there | the command, and its standard input |
| `state.json` | before the command is begun | the wrapper that is at it, later the command's process |
| `out`, `err` | as it runs | the head of what the command says |
| `cancel.json` | by who wants it cancelled | who, and when |
| `result.json` | last | how it ended |
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from .. import children
from ..errors import ConsumerError

REQUEST, INPUT, STATE, CANCEL, RESULT = "request.json", "input", "state.json", "cancel.json", "result.json"
OUT, ERR, LOCK, LOG = "out", "err", "lock", "wrapper.log"

_NEW = ".new-"
_LEFTOVER = timedelta(hours=1)
_STARTING = timedelta(minutes=10)
"""How long beginning is tried; a job that nobody could begin by then is lost."""


class JobError(ConsumerError):
    """The jobs' folder cannot be used, or has no such job."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job's folder."""

    path: Path

    @property
    def id(self) -> str:
        """Its name."""
        return self.path.name

    def read(self, name: str) -> dict[str, Any]:
        """Return the values in the file *name*; none where it is not there yet."""
        try:
            values = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise JobError(f"job {self.id}: {name} is no JSON: {error}") from error
        return values if isinstance(values, dict) else {}

    def write(self, name: str, values: Mapping[str, object]) -> None:
        """Write *values* to the file *name*, so that a reader sees all of them or none, after a power cut as well."""
        write_whole(self.path / name, json.dumps(values).encode())

    def head(self, name: str, limit: int) -> bytes:
        """Return the first *limit* octets of *name*."""
        try:
            with (self.path / name).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def state(self) -> str:
        """Return what there is to say of it: `starting`, `running`, `lost`, or the word of its result."""
        if result := self.read(RESULT):
            return str(result["ended"])
        if not (begun := self.read(STATE)):
            return "lost" if _age(self.path / REQUEST) > _STARTING else "starting"
        if children.is_alive(begun["owner"]) or not self._is_known(begun):
            return "running"
        # It may have written its result between our two looks, and left.
        result = self.read(RESULT)
        return str(result["ended"]) if result else "lost"

    def _is_known(self, begun: Mapping[str, Any]) -> bool:
        """Say whether we can tell if the wrapper lives; of another machine's we believe so while its time is not up."""
        if begun["host"] == os.uname().nodename:
            return True
        limit = timedelta(seconds=self.read(REQUEST)["timeout"]) + timedelta(minutes=5)
        return now() - datetime.fromisoformat(begun["begun"]) > limit

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Be the one who may begin or end it; False where somebody is."""
        file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class Jobs:
    """The folder of all jobs; only its user may look into it, since it holds events and what commands say."""

    path: Path

    def make(self) -> None:
        """Have it there.  Raises JobError where others can reach into it, or it cannot be made."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise JobError(f"jobs folder {self.path} cannot be made: {error.strerror}") from error
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise JobError(
                f"jobs folder {self.path} has mode {mode:04o} and owner {found.st_uid}: it has to be 0700 and "
                f"owned by {os.geteuid()}, or set consumers.jobs to another"
            )

    def new(self, job_id: str, request: Mapping[str, object], feed: bytes) -> tuple[Job, bool]:
        """Return the job *job_id*, and whether it is new: then with *request* and *feed*, all of it on the disk."""
        job = Job(self.path / job_id)
        if job.path.exists():
            return job, False
        fresh = self.path / f"{_NEW}{uuid4().hex}"
        fresh.mkdir(mode=0o700)
        write_whole(fresh / INPUT, feed)
        write_whole(fresh / REQUEST, json.dumps(request).encode())
        try:
            # A folder that holds something is replaced by none: of two that do this at once, one is first.
            fresh.rename(job.path)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not job.path.exists():
                raise
            return job, False
        _sync(self.path)
        return job, True

    def find(self, job_id: str) -> Job:
        """Return the job whose name *job_id* is, or begins with.  Raises JobError where that is none, or several."""
        found = [each for each in self.all() if each.id == job_id] or [
            each for each in self.all() if each.id.startswith(job_id)
        ]
        if len(found) != 1:
            several = ", ".join(each.id for each in found[:5])
            raise JobError(f"{job_id} are several jobs: {several}" if found else f"there is no job {job_id}")
        return found[0]

    def all(self) -> list[Job]:
        """Return all jobs, newest first."""
        try:
            found = [each for each in self.path.iterdir() if not each.name.startswith(".") and each.is_dir()]
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise JobError(f"jobs folder {self.path} is not ours to read: run this as its owner") from error
        return [Job(each) for each in sorted(found, key=_begun, reverse=True)]

    def tidy(self, keep: timedelta, *, most: int = 100) -> int:
        """Remove jobs that ended, or were lost, longer than *keep* ago, *most* at once; return how many."""
        removed = 0
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if removed >= most:
                    break
                if _is_old(Path(entry.path), keep):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    removed += 1
        return removed


def write_whole(path: Path, content: bytes) -> None:
    """Write *content* to *path* by a rename, synced before and after."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def now() -> datetime:
    """Return the present moment, aware."""
    return datetime.now(UTC)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _begun(path: Path) -> float:
    with suppress(OSError):
        return (path / REQUEST).stat().st_mtime
    return 0.0


def _age(path: Path) -> timedelta:
    with suppress(OSError):
        return now() - datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return timedelta()


def _is_old(path: Path, keep: timedelta) -> bool:
    if path.name.startswith(_NEW):
        return _age(path) > _LEFTOVER
    if (path / RESULT).exists():
        return _age(path / RESULT) > keep
    return _age(path / REQUEST) > keep and Job(path).state() == "lost"
