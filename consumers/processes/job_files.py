"""The files of a job: the request, the state, the output, and the result, which is written last and atomically.

| file | written | holds |
|---|---|---|
| `request.json`, `input` | before the job's folder appears | the command and its standard input |
| `state.json` | before the command starts | the wrapper that runs the job, later also the command's process |
| `out`, `err` | while the command runs | the beginning of the command's output |
| `nodes` | while a command runs on nodes | states and output of nodes, see `router.cluster.fleet.node_watch` |
| `cancel.json` | when somebody cancels the job | who, and when |
| `result.json` | last | how the job ended |
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import ConsumerError, JobsUnusable
from . import cleanup

REQUEST, INPUT, STATE, CANCEL, RESULT = "request.json", "input", "state.json", "cancel.json", "result.json"
OUT, ERR, LOCK, LOG, NODES = "out", "err", "lock", "wrapper.log", "nodes"

NEW = ".new-"
"""How the names of folders begin that are not complete yet."""

_LEFTOVER = timedelta(hours=1)
_STARTING = timedelta(minutes=10)
"""How long consumers try to start a job; after that, a job that was not started is lost."""


class JobError(ConsumerError):
    """The jobs folder cannot be used, or does not contain the job."""


@dataclass(frozen=True, slots=True)
class Job:
    """The folder of one job."""

    path: Path

    @property
    def id(self) -> str:
        """The id of the job, which is the name of its folder."""
        return self.path.name

    def read(self, name: str) -> dict[str, Any]:
        """Return the values in the file *name*, empty if it does not exist yet.  Raises JobError if it is not JSON."""
        try:
            values = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError) as error:
            raise JobError(f"job {self.id}: {self.path / name} is not valid JSON: {error}") from error
        return values if isinstance(values, dict) else {}

    def write(self, name: str, values: Mapping[str, object]) -> None:
        """Write *values* to the file *name* atomically: readers see all of them or none, even after a power failure.

        What root writes belongs to the owner of the folder: the consumer must be able to read who cancelled its job.
        """
        write_whole(self.path / name, json.dumps(values).encode(), as_owner_of_folder=True)

    def head(self, name: str, limit: int) -> bytes:
        """Return the first *limit* octets of the file *name*, empty if it does not exist."""
        try:
            with (self.path / name).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def state(self) -> str:
        """Return the state of the job: `starting`, `running`, `lost`, or how it ended according to its result."""
        if result := self.read(RESULT):
            return ended(result)
        if not (begun := self.read(STATE)):
            return "lost" if _age(self.path / REQUEST) > _STARTING else "starting"
        if cleanup.is_alive(begun["owner"]) or not self._is_known(begun):
            return "running"
        # The wrapper may have written the result and exited since the first check.
        result = self.read(RESULT)
        return ended(result) if result else "lost"

    def _is_known(self, begun: Mapping[str, Any]) -> bool:
        """Return whether a wrapper that was not found is gone; on another machine, only after the job's timeout."""
        if begun["host"] == os.uname().nodename:
            return True
        limit = timedelta(seconds=self.read(REQUEST)["timeout"]) + timedelta(minutes=5)
        return now() - datetime.fromisoformat(begun["begun"]) > limit

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Lock the job, which allows to start or end it; yield False if another process holds the lock."""
        file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _give_to_owner_of(self.path, file)
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
    """The folder of all jobs.  Only its owner may read it, since it holds events and the output of commands."""

    path: Path

    def make(self) -> None:
        """Create the folder if needed.  Raises JobError if that fails, or if other users can access the folder."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise JobError(f"jobs folder {self.path} cannot be created: {error.strerror}") from error
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() or mode & 0o077:
            raise JobError(_not_private(self.path, mode, found.st_uid))

    def problem(self) -> str:
        """Return what is wrong with the folder, if it exists; an empty text if nothing.  For checks."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"jobs folder {self.path} cannot be used: {error.strerror}"
        if not stat.S_ISDIR(found.st_mode):
            return f"jobs folder {self.path} is not a folder"
        mode = stat.S_IMODE(found.st_mode)
        # Root may check what belongs to the consumer's user.
        is_others = os.geteuid() not in (0, found.st_uid)
        return _not_private(self.path, mode, found.st_uid) if mode & 0o077 or is_others else ""

    def new(self, job_id: str, request: Mapping[str, object], feed: bytes) -> tuple[Job, bool]:
        """Return the job *job_id*, and whether it is new; a new job has *request* and *feed* synced to disk."""
        job = Job(self.path / job_id)
        if job.path.exists():
            return job, False
        fresh = self.path / f"{NEW}{uuid4().hex}"
        fresh.mkdir(mode=0o700)
        write_whole(fresh / INPUT, feed)
        write_whole(fresh / REQUEST, json.dumps(request).encode())
        try:
            # A rename does not replace a folder that is not empty: if two processes do this at once, one wins.
            fresh.rename(job.path)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not job.path.exists():
                raise
            return job, False
        sync_folder(self.path)
        return job, True

    def of(self, job_id: str) -> Job | None:
        """Return the job whose whole id is *job_id*, or None if this machine has none."""
        job = Job(self.path / job_id)
        return job if job.path.exists() else None

    def all(self) -> list[Job]:
        """Return all jobs, newest first.  Raises JobsUnusable."""
        try:
            found = [each for each in self.path.iterdir() if not each.name.startswith(".") and each.is_dir()]
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise JobsUnusable(f"jobs folder {self.path} cannot be read: run this command as its owner") from error
        except OSError as error:
            raise JobsUnusable(f"jobs folder {self.path} cannot be read: {error.strerror}") from error
        return [Job(each) for each in sorted(found, key=_begun, reverse=True)]

    def tidy(self, keep: timedelta, *, lost: timedelta | None = None, most: int = 100) -> int:
        """Remove jobs that ended longer than *keep* ago, up to *most* per call; return how many.

        Those that began longer ago than *lost*, by default also *keep*, are removed if they are lost.
        """
        removed = 0
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if removed >= most:
                    break
                if _is_old(Path(entry.path), keep, keep if lost is None else lost):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    removed += 1
        return removed


def find(jobs: Sequence[Job], job_id: str) -> Job:
    """Return that of *jobs* with the id *job_id*, or the only one whose id begins so.

    Raises JobError if none or several match.
    """
    found = [each for each in jobs if each.id == job_id] or [each for each in jobs if each.id.startswith(job_id)]
    if len(found) != 1:
        several = f"{', '.join(each.id for each in found[:5])}; write the whole id"
        raise JobError(f"{job_id} matches several jobs: {several}" if found else f"there is no job {job_id}")
    return found[0]


def _not_private(path: Path, mode: int, owner: int) -> str:
    return (
        f"jobs folder {path} has mode {mode:04o} and owner {owner}: set its mode to 0700 and its owner to the"
        " consumer's user, or set consumers.jobs to another folder"
    )


def ended(result: Mapping[str, Any]) -> str:
    """Return how a job with this *result* ended, `lost` if that does not say it."""
    how = result.get("ended")
    # Earlier releases wrote `through`, and their job folders are kept for days.
    return "finished" if how == "through" else how if isinstance(how, str) else "lost"


def write_whole(path: Path, content: bytes, mode: int | None = None, *, as_owner_of_folder: bool = False) -> None:
    """Write *content* to *path* atomically: write and sync a temporary file, rename it, and sync its folder.

    Without *mode*, the umask decides who may read the file.  With *as_owner_of_folder*, what root writes is theirs.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with aside.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if as_owner_of_folder:
                _give_to_owner_of(path.parent, file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _give_to_owner_of(folder: Path, file: int) -> None:
    if os.geteuid() == 0:
        found = folder.stat()
        os.fchown(file, found.st_uid, found.st_gid)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def sync_folder(folder: Path) -> None:
    """Sync *folder*, so that the names of its files survive a power failure."""
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


def _is_old(path: Path, keep: timedelta, lost: timedelta) -> bool:
    if path.name.startswith(NEW):
        return _age(path) > _LEFTOVER
    if (path / RESULT).exists():
        return _age(path / RESULT) > keep
    return _age(path / REQUEST) > lost and Job(path).state() == "lost"
