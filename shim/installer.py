"""Installs and removes the shim on a node, as root.  It is sent to the node for each run, and does not stay there.

It reads a bundle on stdin in two parts: the files for all nodes, and the files for this node.  Each part is a line of
JSON, then the bytes of its files.  It answers with one line of JSON, and exits 0 on success, 1 on failure.

    status    lists what is missing or different, and changes nothing
    spool     counts what is in the spool and what was lost, on this machine, and changes nothing; needs no root
    install   installs the files that differ: writes all new files, syncs, checks and tries them, then renames them.
              If any step fails, it restores the old files
    remove    removes only what was installed; a spool with records stays

If it is killed at any moment, each file is completely old or completely new, and the next run finishes the work.  With
a `root` it works inside that folder as if it were the node, and touches no user, systemd or relay of this machine.

One file, standard library only, Python 3.6 and later: types that need a later Python are texts.
"""

import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import select
import signal
import stat
import sys
import time
import zlib

MYPY = False
if MYPY:
    from typing import Any, BinaryIO, Callable, Dict, List, Optional, Sequence, Tuple  # noqa: UP035 - for the texts; Python 3.6

RECORD = "/usr/lib/clusterbus/installed.json"  # the list of installed files, so that any later release can remove them
CAPTURE = "/usr/libexec/clusterbus/capture.py"
RELAY = "/usr/lib/clusterbus/clusterbus-relay.pyz"
UNIT = "clusterbus-relay.service"
PACKAGE = "clusterbus-node"
SPOOL = "/var/spool/clusterbus"
RUN = "/run/clusterbus"  # where capture counts and keeps what it cannot put into the spool
CONNECTION = "connection"  # in the spool: what the relay tells of its connection
NEW, OLD = ".clusterbus-new", ".clusterbus-old"
OLDEST, OLDEST_FOR_RELAY = (3, 6), (3, 9)
STARTED = "restarted the relay"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNTS = "/proc/self/mountinfo"
LIMIT = 60  # seconds for one command; starting the relay takes longest
CONNECTING = 20  # seconds for a relay that was started to connect to a broker
ANSWERING = 10  # seconds for the disk under the spool to answer
LOOKING = "look-%08x"  # the name of a process that looks at the spool with this sum; the kernel keeps 15 characters
MOST_LOOKING = 4  # such processes of one spool at most, as long as its disk answers none of them
MOST_MEASURED = 200000  # records whose sizes are added up
MOST_MARKS = 64 << 20  # bytes of a file `lost` that are counted
LONGEST_REASON = 500  # characters of an exception that nobody expected
LINES = 20  # lines of the journal to show if the relay does not start
VARYING = re.compile(r"%s: (Consumed|Scheduled restart)" % re.escape(UNIT))  # lines of systemd that do not explain why


class Failed(Exception):
    """A step failed; the message says which step and why."""


class Part:
    """One half of the bundle: its *header* and the content of its files."""

    def __init__(self, stream: "BinaryIO") -> None:
        """Read it completely; raises Failed if it is incomplete or does not match its checksums."""
        try:
            self.header = json.loads(stream.readline().decode())  # type: Dict[str, Any]
            self.files = [File(each) for each in self.header.get("files", [])]
        except (ValueError, KeyError, TypeError) as error:
            raise Failed("the bundle on stdin is incomplete or not valid: %s" % error) from error
        for file in self.files:
            if file.size is None:
                continue
            file.content = stream.read(file.size)
            if hashlib.sha256(file.content).hexdigest() != file.sha256:
                raise Failed("%s arrived damaged: its checksum differs, or it is incomplete; run it again" % file.path)


class File:
    """A file to install; its *content* is None if it was not sent."""

    def __init__(self, facts: "Dict[str, Any]") -> None:
        self.path = facts["path"]  # type: str
        self.sha256 = facts["sha256"]  # type: str
        self.owner, self.group, self.mode = facts["owner"], facts["group"], facts["mode"]
        self.size = facts.get("size")  # type: Optional[int]
        self.content = None  # type: Optional[bytes]
        parts = self.path.split("/")
        if parts[0] or not all(parts[1:]) or {".", ".."} & set(parts):
            raise ValueError("%r is not an absolute path" % self.path)


class Target:
    """The node to install on: this machine, or a folder that stands for it."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.is_here = not self.root
        self._known = {}  # type: Dict[Tuple[str, str], int]
        self.left_out = [] if self.is_here else ["users", "systemd", "the test run of the relay"]  # type: List[str]

    def path(self, path: str) -> str:
        return self.root + path

    def owner(self, name: str) -> "Optional[int]":
        """Return the number of user *name*, or None if it is unknown."""
        return self._number("passwd", name)

    def group(self, name: str) -> "Optional[int]":
        """Return the number of group *name*, or None if it is unknown."""
        return self._number("group", name)

    def _number(self, table: str, name: str) -> "Optional[int]":
        if name.isdigit():
            return int(name)
        if (table, name) not in self._known:
            found = self._find_here(table, name) if self.is_here else self._find_in_folder(table, name)
            if found is None:
                return None
            self._known[table, name] = found
        return self._known[table, name]

    @staticmethod
    def _find_here(table: str, name: str) -> "Optional[int]":
        try:
            return pwd.getpwnam(name).pw_uid if table == "passwd" else grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def _find_in_folder(self, table: str, name: str) -> "Optional[int]":
        if os.geteuid() != 0:
            self._leave_out("owners: the installer does not run as root")
            return None
        try:
            with open("%s/etc/%s" % (self.root, table)) as stream:
                fields = [line.split(":") for line in stream]
        except OSError:
            fields = []
        for each in fields:
            if each[0] == name and each[2:] and each[2].isdigit():
                return int(each[2])
        if name != "root":
            self._leave_out("%s %s: %s/etc/%s has no entry for it" % (table, name, self.root, table))
        return 0 if name == "root" else None

    def _leave_out(self, what: str) -> None:
        if what not in self.left_out:
            self.left_out.append(what)

    def has_systemd(self) -> bool:
        return self.is_here and os.path.isdir("/run/systemd/system")

    def command(self, words: "Sequence[str]") -> "Tuple[int, str]":
        """Run *words* here; return the exit code and the output.  The code is 127 if the command does not exist."""
        import subprocess  # imported late: it is slow, and most runs do not need it

        try:
            ended = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": PATH, "LANG": "C"},
                timeout=LIMIT,
                check=False,
            )
        except FileNotFoundError:
            return 127, "%s is not installed" % words[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            return 126, str(error)
        return ended.returncode, ended.stdout.decode("utf-8", "replace").strip()[-1000:]


def package_on(target: Target) -> str:
    """Return the name of the package that installed the shim, and must change or remove it; otherwise ""."""
    try:
        with open(target.path("/var/lib/dpkg/info/%s.list" % PACKAGE)) as stream:
            # For a package that is removed but not purged, dpkg lists only its settings.
            if CAPTURE in stream.read().split("\n"):
                return "the deb %s" % PACKAGE
    except OSError:
        pass
    if target.is_here and target.command(["rpm", "-q", PACKAGE])[0] == 0:
        return "the rpm %s" % PACKAGE
    return ""


class Spool:
    """The spool of a node, what capture could not store in it, and its relay: numbers, which others judge."""

    def __init__(self, target: Target, spool: str = SPOOL, run: str = RUN) -> None:
        self.path, self._run = target.path(spool), target.path(run)

    def facts(self) -> "Dict[str, Any]":
        """Return what it holds; raises OSError, and Failed if its disk does not answer in time."""
        return _answered_in_time(self.path, self._facts)

    def here(self) -> "Dict[str, Any]":
        """Return the answer about this machine; raises as `facts`."""
        return _answered_in_time(self.path, self._here)

    def _here(self) -> "Dict[str, Any]":
        facts = self._facts()
        told = self.reported(0) if facts["exists"] else {}
        connection = dict(self.shown(told), unsent=facts["waiting"], oldest=facts["oldest"]) if told else None
        relay = "active" if facts["exists"] and self._is_locked() else "inactive"
        return {"spool": facts, "relay": relay, "connection": connection}

    def _is_locked(self) -> bool:
        """Return whether a relay runs: it holds a lock on the folder."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _facts(self) -> "Dict[str, Any]":
        facts = {"exists": _is_folder(self.path), "missing": [], "mode": 0, "waiting": 0, "octets": 0, "oldest": 0}
        facts.update(full=None, bad=0, free=None, unreadable=[])
        facts["lost"] = {"f": 0, "d": 0, "e": 0}
        if facts["exists"]:
            self._look(facts)
        for folder in (self.path, self._run):
            self._count_lost(folder + "/lost", facts)
        facts["unsaved"] = _size(self._run + "/unsaved")
        return facts

    def _look(self, facts: "Dict[str, Any]") -> None:
        now = time.time()
        facts["missing"] = [each for each in ("tmp", "new", "bad", "kept") if not _is_folder(self.path + "/" + each)]
        facts["mode"] = stat.S_IMODE(os.stat(self.path).st_mode)
        room = os.statvfs(self.path)
        facts["free"] = room.f_bavail * room.f_frsize
        if "new" not in facts["missing"]:
            new = os.listdir(self.path + "/new")
            moments = [each for each in map(_moment, new) if each]
            facts["waiting"] = len(new)
            facts["octets"] = sum(_size("%s/new/%s" % (self.path, name)) for name in new[:MOST_MEASURED])
            facts["oldest"] = max(0, int(now - min(moments))) if moments else 0
        if "bad" not in facts["missing"]:
            facts["bad"] = sum(not name.endswith(".reason") for name in os.listdir(self.path + "/bad"))
        try:
            facts["full"] = max(0, int(now - os.lstat(self.path + "/full").st_ctime))
        except FileNotFoundError:
            pass

    def _count_lost(self, file: str, facts: "Dict[str, Any]") -> None:
        """Add the marks in *file*, one for each capture that was not stored; the letter is the reason."""
        try:
            marks = _written_by_relay(file, MOST_MARKS)[0]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            facts["unreadable"].append(_words(error))
            return
        for mark in facts["lost"]:
            facts["lost"][mark] += marks.count(mark.encode())

    def reported(self, since: float) -> "Dict[str, Any]":
        """Return what the relay has written of its connection after *since*; empty if there is nothing."""
        try:
            text, written = _written_by_relay("%s/%s" % (self.path, CONNECTION), 10000)
            found = json.loads(text.decode())
            facts = {"broker": found["broker"], "problem": found["problem"], "since": float(found["since"])}
            until = float(found["until"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return {}
        if written < since:
            return {}
        if until < time.time():
            return dict(facts, problem="the relay has said nothing of its connection lately", since=written)
        return facts

    @staticmethod
    def shown(facts: "Dict[str, Any]") -> "Dict[str, Any]":
        """Return *facts* as `reported` returns them, bounded, and how many seconds ago they began."""
        since = max(0, int(min(time.time() - facts["since"], 10**9)))
        return {"broker": str(facts["broker"])[:250], "problem": str(facts["problem"])[:2000], "since": since}


def _answered_in_time(folder: str, look: "Callable[[], Dict[str, Any]]") -> "Dict[str, Any]":
    """Return what *look* returns of *folder*; raises the OSError that it raises, and Failed if its disk hangs.

    Any other end of the look is Failed, too, with its reason.  A child looks.  It cannot be ended as long as the disk
    does not answer, so it is left behind, and nobody waits.
    """
    name = LOOKING % zlib.crc32(os.fsencode(folder))
    left_behind = sum(_is_looking(each, name) for each in _names("/proc") if each.isdigit())
    if left_behind >= MOST_LOOKING:
        words = (folder, left_behind)
        raise Failed("the disk under %s does not answer: %d earlier looks at it have not ended yet" % words)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _look_and_end(theirs, name, look)
    os.close(theirs)
    answer, deadline = b"", time.monotonic() + ANSWERING
    with os.fdopen(ours, "rb", 0) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
                raise Failed("the disk under %s does not answer after %d s" % (folder, ANSWERING))
            piece = pipe.read(65536)
            if not piece:
                break
            answer += piece
    ended = os.waitpid(child, 0)[1]
    try:
        found, failed, reason = json.loads(answer.decode())
    except ValueError:
        found, failed, reason = None, None, "its process ended without an answer (status %d)" % ended
    if failed:
        raise OSError(*failed)
    if reason:
        raise Failed("the look at %s failed: %s" % (folder, reason))
    return dict(found)


def _look_and_end(pipe: int, name: str, look: "Callable[[], Dict[str, Any]]") -> None:
    """As a process *name*, write what *look* returns, or what it raises, as JSON to *pipe*, and end."""
    try:
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        # Whoever waits for the end of our output does not wait for the disk.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        with open("/proc/self/comm", "w") as stream:
            stream.write(name)
        try:
            found = json.dumps([look(), None, ""])
        except OSError as error:
            found = json.dumps([None, [error.errno, error.strerror, error.filename], ""])
        except Exception as error:  # noqa: BLE001 - a bug of ours, which is shown instead of a traceback
            found = json.dumps([None, None, _in_one_line(error)])
        with os.fdopen(pipe, "wb") as answer:
            answer.write(found.encode())
    finally:
        os._exit(0)


def _is_looking(process: str, name: str) -> bool:
    """Return whether *process* is one of this user with this *name*; this reads no memory of it, which may hang."""
    try:
        if os.stat("/proc/" + process).st_uid != os.geteuid():
            return False
        with open("/proc/%s/comm" % process) as stream:
            return stream.read().rstrip("\n") == name
    except (OSError, UnicodeDecodeError):
        return False  # it has ended meanwhile


def _written_by_relay(path: str, most: int) -> "Tuple[bytes, float]":
    """Return at *most* so many bytes of a file that the relay may write, and when it was written; raises OSError.

    Whatever the relay puts there: root reads no device, follows no link, waits for no pipe.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        known = os.fstat(stream.fileno())
        return stream.read(most) if stat.S_ISREG(known.st_mode) else b"", known.st_mtime


def _is_folder(path: str) -> bool:
    """Return whether *path* is a folder; raises OSError if that cannot be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


class Node:
    """The wanted state of one node, and how the node differs from it."""

    def __init__(
        self, target: Target, shared: "Dict[str, Any]", files: "List[File]", *, packaged: bool = False
    ) -> None:
        """Want *files*, and the folders and the user in *shared*; a package keeps its own list of installed files."""
        self.target, self.files, self.spool = target, list(files), Spool(target)
        if not packaged:
            self.files.append(_record(shared["version"], files))
        self.folders = shared["folders"]  # type: List[Dict[str, Any]]
        self.user = shared["user"]  # type: Dict[str, str]
        self.version = shared["version"]  # type: str

    def differences(self) -> "List[Tuple[str, str]]":
        """Return each path that differs from the wanted state, and how."""
        found = [(file.path, why) for file in self.files for why in [self.of_file(file)] if why]
        found += [(file.path, "an installation was interrupted") for file in self.files if self._has_leftovers(file)]
        found += [(each["path"], why) for each in self.folders for why in [self._of_folder(each)] if why]
        if not self.has_user():
            found.append(("user %s" % self.user["name"], "is missing"))
        if self.target.has_systemd():
            active, enabled = self.relay()
            if active != "active" or enabled != "enabled":
                found.append((UNIT, "is %s and %s" % (active, enabled)))
        return found

    def has_user(self) -> bool:
        """Return whether the relay's user and group exist; inside a folder they are not required."""
        name = self.user["name"]
        return not self.target.is_here or None not in (self.target.owner(name), self.target.group(name))

    def relay(self) -> "Tuple[str, str]":
        """Return systemd's words for the relay: whether it is active, and whether it is enabled."""
        if not self.target.has_systemd():
            return "left out", "left out"
        states = [self.target.command(["systemctl", word, UNIT])[1] for word in ("is-active", "is-enabled")]
        return states[0].split("\n")[-1] or "unknown", states[1].split("\n")[-1] or "missing"

    def connection(self, held: "Dict[str, Any]", since: float = 0) -> "Dict[str, Any]":
        """Return what the relay tells of its connection and what the spool *held*, with ages in seconds.

        With *since*, wait a moment for a relay that was started then.  Empty if the relay tells nothing here.
        """
        deadline = time.time() + CONNECTING
        while True:
            facts = self.spool.reported(since)
            if not since or time.time() > deadline or (facts and not facts["problem"]):
                break
            time.sleep(0.2)
        if not facts:
            if not self.target.has_systemd() or self.relay()[0] != "active":
                return {}
            facts = {"broker": "", "problem": "the relay does not say whether it is connected", "since": time.time()}
        return dict(self.spool.shown(facts), unsent=held["waiting"], oldest=held["oldest"])

    def of_file(self, file: File) -> str:
        path = self.target.path(file.path)
        try:
            known = os.lstat(path)
            folder = os.stat(os.path.dirname(path))
        except OSError as error:
            return "is missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else _words(error)
        if not stat.S_ISREG(known.st_mode):
            return "is not a regular file"
        if folder.st_mode & 0o022:
            return "is in a folder that others than its owner may write to"
        try:
            if _sha256(path) != file.sha256:
                return "has different content"
        except OSError as error:
            return _words(error)
        return self._of_owner(known, file.owner, file.group, file.mode)

    def _of_folder(self, folder: "Dict[str, Any]") -> str:
        try:
            known = os.lstat(self.target.path(folder["path"]))
        except OSError as error:
            return "is missing" if error.errno == errno.ENOENT else _words(error)
        if not stat.S_ISDIR(known.st_mode):
            return "is not a folder"
        return self._of_owner(known, folder["owner"], folder["group"], folder["mode"])

    def _of_owner(self, known: os.stat_result, owner: str, group: str, mode: int) -> str:
        user, members = self.target.owner(owner), self.target.group(group)
        if (user is not None and known.st_uid != user) or (members is not None and known.st_gid != members):
            return "belongs to %d:%d instead of %s:%s" % (known.st_uid, known.st_gid, owner, group)
        if stat.S_IMODE(known.st_mode) != mode:
            return "has mode %04o instead of %04o" % (stat.S_IMODE(known.st_mode), mode)
        return ""

    def _has_leftovers(self, file: File) -> bool:
        return any(os.path.lexists(self.target.path(file.path) + each) for each in (NEW, OLD))


class Installation:
    """Installs everything that differs on a node, or nothing."""

    def __init__(self, node: Node) -> None:
        self._node, self._target = node, node.target
        self._todo = []  # type: List[File]
        self._all_renamed = False
        self._renamed = []  # type: List[str]
        self.did = []  # type: List[str]

    def run(self) -> None:
        """Install; raises Failed and OSError after restoring the old state."""
        if not self._node.differences():
            return
        package = package_on(self._target)
        if package:
            raise Failed(
                "%s installed the shim on this node, and its next update would overwrite these files: update the"
                " package, or remove it and deploy again" % package
            )
        self._make_parents()
        self._recover()
        self._todo = [file for file in self._node.files if self._node.of_file(file)]
        try:
            self._stage()
            for file in self._todo:
                _keep(self._target.path(file.path))
            self._rename()
            self._finish()
        except BaseException:
            self._undo()
            raise
        self._forget_old()

    def _make_parents(self) -> None:
        for file in self._node.files:
            folder = os.path.dirname(self._target.path(file.path))
            os.makedirs(folder, 0o755, exist_ok=True)
            if os.stat(folder).st_mode & 0o022:
                raise Failed(
                    "%s: others than its owner may write to this folder, so no file in it is safe: chmod go-w %s"
                    % (folder, folder)
                )

    def _recover(self) -> None:
        """Clean up after a killed run: finish it if it renamed all files, otherwise undo it.

        If only its last steps are missing, the old files stay until the relay has restarted, because this run may be
        killed as well.
        """
        paths = [self._target.path(file.path) for file in self._node.files]
        self._all_renamed = not any(self._node.of_file(file) for file in self._node.files)
        for path in paths:
            _unlink(path + NEW)
            if not self._all_renamed and os.path.lexists(path + OLD):
                _put_back(path)
        _remove_trial(self._trial())

    def _stage(self) -> None:
        lacking = [file.path for file in self._todo if file.content is None]
        if lacking:
            raise Failed("%s changed during this run: run it again" % lacking[0])
        self._make_user()
        for file in self._todo:
            path = self._target.path(file.path) + NEW
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as stream:
                stream.write(file.content or b"")
                stream.flush()
                self._own(fd, file.owner, file.group, file.mode)
                os.fsync(fd)
            if _sha256(path) != file.sha256:
                raise Failed("%s: the content read back differs from the content written: check the disk" % path)
        self._try()

    def _own(self, fd: int, owner: str, group: str, mode: int) -> None:
        user, members = self._target.owner(owner), self._target.group(group)
        if self._target.is_here and (user is None or members is None):
            raise Failed("user %s or group %s does not exist on this node" % (owner, group))
        os.fchown(fd, -1 if user is None else user, -1 if members is None else members)
        os.fchmod(fd, mode)

    def _make_user(self) -> None:
        user = self._node.user
        if self._node.has_user():
            return
        line = 'u %s - "%s" %s %s' % (user["name"], user["comment"], user["home"], user["shell"])
        code, output = self._target.command(["systemd-sysusers", "--inline", line])
        if code:
            has_group = self._target.group(user["name"]) is not None
            words = ["useradd", "--system", "--no-create-home", "--home-dir", user["home"]]
            words += ["--gid", user["name"]] if has_group else ["--user-group"]
            words += ["--shell", user["shell"], "--comment", user["comment"], user["name"]]
            code, more = self._target.command(words)
            output = "%s; %s" % (output, more)
        if code or not self._node.has_user():
            raise Failed("cannot create user %s: %s" % (user["name"], output))
        self.did.append("created user %s" % user["name"])

    def _try(self) -> None:
        """Test the new files before they are installed."""
        for file in self._todo:
            if file.content is not None and file.content.startswith(b"#!") and not file.path.endswith(".pyz"):
                compile(file.content, file.path, "exec")
            if file.path == CAPTURE:
                self._try_capture(self._target.path(file.path) + NEW)
            if file.path == RELAY and self._target.is_here:
                if sys.version_info < OLDEST_FOR_RELAY:
                    raise Failed("the relay needs Python 3.9 or later, but %s is %s" % (sys.executable, _python()))
                code, output = self._target.command(
                    [sys.executable, "-I", self._target.path(file.path) + NEW, "--help"]
                )
                if code:
                    raise Failed("the relay does not run on this node: %s" % output)

    def _try_capture(self, script: str) -> None:
        spool = self._trial()
        for each in ("", "/tmp", "/new"):
            os.mkdir(spool + each, 0o700)
        code, output = self._target.command([sys.executable, "-IS", script, "--spool", spool, "clusterbus", "trial"])
        stored = [spool + "/new/" + name for name in os.listdir(spool + "/new")]
        if code or len(stored) != 1:
            raise Failed("capture stores no record on this node (see syslog); exit code %d: %s" % (code, output))
        with open(stored[0]) as stream:
            json.load(stream)
        _remove_trial(spool)

    def _trial(self) -> str:
        return self._target.path(os.path.dirname(CAPTURE) + "/.clusterbus-trial")

    def _rename(self) -> None:
        for file in self._todo:
            path = self._target.path(file.path)
            self._renamed.append(path)
            os.rename(path + NEW, path)
        for folder in sorted({os.path.dirname(path) for path in self._renamed}):
            _sync(folder)
        _forget_bytecode(self._target)
        for file in self._node.files:
            why = self._node.of_file(file)
            if why:
                raise Failed("%s %s right after its installation" % (file.path, why))
        self.did += [file.path for file in self._todo]

    def _finish(self) -> None:
        """Create the folders and start the relay."""
        if self._target.is_here:
            self._target.command(["systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/clusterbus.conf"])
        for folder in self._node.folders:
            self._make_folder(folder)
        if self._target.has_systemd():
            self._start()

    def _start(self) -> None:
        """Enable and restart the relay; raises Failed with the journal's last lines if it does not start."""
        begun = int(time.time())
        # systemd may still have the old unit loaded, even if this run did not change it.
        for words in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
            code, output = self._target.command(["systemctl", *words])
            if code:
                # systemctl refers to the unit and its state, which no longer exist when somebody reads this.
                lines = [line for line in output.split("\n") if not line.startswith("See ")]
                lines += self._journal(begun) if words[0] == "restart" else []
                raise Failed("systemctl %s: %s" % (" ".join(words), "; ".join(lines)))
        self.did.append(STARTED)

    def _journal(self, since: int) -> "List[str]":
        """Return the relay's last lines in the journal since *since* (seconds since 1970), each line once.

        Leaves out what differs between nodes, so that nodes with the same problem report the same lines.
        """
        self._target.command(["journalctl", "--sync"])
        words = ["--unit=%s" % UNIT, "--since=@%d" % since, "--lines=%d" % LINES]
        code, output = self._target.command(["journalctl", "--no-pager", "--quiet", "--output=cat", *words])
        lines = [re.sub(r"^timestamp=\S+ ", "", line) for line in output.split("\n")] if code == 0 else []
        return sorted({line for line in lines if line and not VARYING.match(line)}, key=lines.index)

    def _make_folder(self, folder: "Dict[str, Any]") -> None:
        path = self._target.path(folder["path"])
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
            self.did.append(folder["path"])
        except FileExistsError:
            pass
        # The group may write to the parents of some folders, so no symbolic link is followed.
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._own(fd, folder["owner"], folder["group"], folder["mode"])
        finally:
            os.close(fd)

    def _undo(self) -> None:
        """Restore the old files, and restart the old relay."""
        _ignore_signals()
        if self._all_renamed:
            return  # an earlier run renamed all files, this run renamed none, and the next run tries again
        unit = [path for path in self._renamed if path.endswith(UNIT) and not os.path.lexists(path + OLD)]
        if unit and self._target.has_systemd():
            self._target.command(["systemctl", "disable", "--now", UNIT])
        for file in self._node.files:
            path = self._target.path(file.path)
            _unlink(path + NEW)
            if os.path.lexists(path + OLD):
                _put_back(path)
            elif path in self._renamed:
                _unlink(path)
        _remove_trial(self._trial())
        if self._renamed:
            _forget_bytecode(self._target)
            if self._target.has_systemd():
                self._target.command(["systemctl", "daemon-reload"])
                # Otherwise a failed unit stays in `systemctl --failed` after its removal.
                self._target.command(["systemctl", "reset-failed" if unit else "restart", UNIT])

    def _forget_old(self) -> None:
        """Remove the old copies, after removing the files that were installed earlier and are no longer wanted.

        One example is a password that certificates have replaced.  The old record goes last, so that a kill loses
        track of no file.
        """
        _ignore_signals()
        wanted = {file.path for file in self._node.files}
        for path, sha256 in _read_record(self._target, OLD)[1].items():
            if path not in wanted and _is_still(self._target.path(path), sha256):
                _unlink(self._target.path(path))
                self.did.append("removed %s" % path)
        for file in self._node.files:
            _unlink(self._target.path(file.path) + OLD)


class Removal:
    """Removes the shim from a node; *did* lists what it removed, *kept* what it left, with the reason."""

    def __init__(self, node: Node) -> None:
        self._node, self._target = node, node.target
        self.did = []  # type: List[str]
        self.kept = []  # type: List[str]

    def run(self) -> None:
        """Remove it, except files that existed before or changed since; raises Failed and OSError."""
        package = package_on(self._target)
        if package:
            raise Failed("%s installed the shim on this node: remove the package, with apt or dnf" % package)
        ours = self._ours()
        active, enabled = self._node.relay()
        if self._target.has_systemd() and (active not in ("inactive", "unknown") or enabled == "enabled"):
            code, output = self._target.command(["systemctl", "disable", "--now", UNIT])
            if code:
                raise Failed("cannot stop the relay: %s" % output)
            self.did.append("stopped the relay")
        folders = set()
        # The programs that run as root go first, the record of installed files last.
        for path in sorted(ours, key=lambda each: (each == RECORD, not each.startswith("/usr/libexec/"), each)):
            here = self._target.path(path)
            folders.add(os.path.dirname(here))
            for aside in (NEW, OLD):
                _unlink(here + aside)
            if not os.path.lexists(here):
                continue
            if os.path.islink(here) or _sha256(here) not in ours[path]:
                self.kept.append("%s: it changed after the installation" % path)
                continue
            os.unlink(here)
            self.did.append(path)
        _forget_bytecode(self._target)
        self._remove_spool()
        self._name_user()
        for folder in sorted(folders):
            if os.path.basename(folder) == "clusterbus":
                _rmdir(folder)
        if self._target.has_systemd():
            self._target.command(["systemctl", "daemon-reload"])
            self._target.command(["systemctl", "reset-failed", UNIT])  # otherwise `systemctl --failed` keeps it

    def _ours(self) -> "Dict[str, List[str]]":
        """Return the installed paths, each with the checksums of the content that we installed."""
        ours = {file.path: [file.sha256] for file in self._node.files}  # type: Dict[str, List[str]]
        try:
            ours[RECORD] = [_sha256(self._target.path(RECORD))]
        except OSError:
            pass  # nothing was installed, or not completely: only the wanted files are known
        for path, sha256 in _read_record(self._target)[1].items():
            ours.setdefault(path, []).append(sha256)
        return ours

    def _name_user(self) -> None:
        """Name the relay's user: what it owned elsewhere would belong to whoever gets its number next."""
        name = self._node.user["name"]
        if self._target.is_here and self._target.owner(name) is not None:
            self.kept.append("the user %s: `userdel %s` deletes it" % (name, name))

    def _remove_spool(self) -> None:
        spool = self._target.path(SPOOL)
        if not os.path.isdir(spool):
            return
        inside = [name for each in ("tmp", "new", "bad", "kept") for name in _names("%s/%s" % (spool, each))]
        if inside:
            self.kept.append("%s: it holds %d files that were not delivered" % (SPOOL, len(inside)))
            return
        if _size(spool + "/lost") > 1 and not os.path.exists(spool + "/lost.reported"):
            self.kept.append("%s: it holds losses that were not reported yet" % SPOOL)
            return
        files = ("journal", "journal.new", "lost", "lost.reported", "lost.reported.new", "full")
        for name in (*files, CONNECTION, CONNECTION + ".new"):
            _unlink("%s/%s" % (spool, name))
        for each in ("tmp", "new", "bad", "kept", ""):
            _rmdir(os.path.join(spool, each).rstrip("/"))
        if os.path.lexists(spool):
            self.kept.append("%s: it holds files that clusterbus did not create" % SPOOL)
        else:
            self.did.append(SPOOL)


def _record(version: str, files: "List[File]") -> File:
    facts = {"version": version, "files": {file.path: file.sha256 for file in files}}
    content = json.dumps(facts, sort_keys=True, indent=1).encode() + b"\n"
    wanted = {"path": RECORD, "sha256": hashlib.sha256(content).hexdigest(), "owner": "root", "group": "root"}
    file = File(dict(wanted, mode=0o600))  # it holds checksums of secrets
    file.content = content
    return file


def _read_record(target: Target, suffix: str = "") -> "Tuple[str, Dict[str, str]]":
    """Return the installed release, and the checksums of its files by path; empty if the record cannot be read.

    *suffix* OLD reads the old copy of the record.
    """
    try:
        with open(target.path(RECORD) + suffix, "rb") as stream:
            facts = json.loads(stream.read().decode())
        files = facts["files"].items()
        safe = [(path, sum_) for path, sum_ in files if path.startswith(("/usr/lib", "/etc/clusterbus/"))]
        return str(facts["version"]), {path: sum_ for path, sum_ in safe if ".." not in path.split("/")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "", {}


def _is_still(path: str, sha256: str) -> bool:
    try:
        return _sha256(path) == sha256
    except OSError:
        return False


def _remove_trial(spool: str) -> None:
    for each in ("tmp", "new", "kept"):
        for name in _names("%s/%s" % (spool, each)):
            _unlink("%s/%s/%s" % (spool, each, name))
        _rmdir("%s/%s" % (spool, each))
    for name in _names(spool):
        _unlink("%s/%s" % (spool, name))
    _rmdir(spool)


def _keep(path: str) -> None:
    """Link *path* to its old name as well, so that the file never disappears."""
    try:
        os.link(path, path + OLD, follow_symlinks=False)
    except FileNotFoundError:
        pass


def _put_back(path: str) -> None:
    # If both names are the same file, a rename does nothing.
    if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.lstat(path + OLD)):
        _unlink(path + OLD)
    else:
        os.rename(path + OLD, path)


def _forget_bytecode(target: Target) -> None:
    # Python compares seconds and size only: a new source could have those of the old one.
    folder = target.path(os.path.dirname(CAPTURE) + "/__pycache__")
    for name in _names(folder):
        if name.startswith("capture."):
            _unlink("%s/%s" % (folder, name))
    _rmdir(folder)


def _moment(name: str) -> float:
    """Return when the record in the file *name* was captured; 0 if that is no record."""
    found = re.match("([0-9]{19})[.]", name)
    return int(found.group(1)) / 1e9 if found else 0


def _names(folder: str) -> "List[str]":
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # it does not exist, or holds files of others


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _python() -> str:
    return "%d.%d.%d" % sys.version_info[:3]


def file_system(folder: str) -> str:
    """Return the type of the file system that *folder* is or would be on, as the kernel names it; "" if unknown."""
    path, nearest, found = os.path.realpath(folder), "", ""
    try:
        with open(MOUNTS, errors="surrogateescape") as stream:
            lines = stream.read().split("\n")
    except OSError:
        return ""
    for line in lines:
        own, separator, about = line.partition(" - ")
        mount = (own.split(" ") + [""] * 5)[4].replace("\\040", " ").rstrip("/")
        # Of several mounts on one folder, the last one counts.
        if separator and (path + "/").startswith(mount + "/") and len(mount) >= len(nearest):
            nearest, found = mount, about.partition(" ")[0]
    return found[:100]


def _in_one_line(error: Exception) -> str:
    """Return what kind of error *error* is and what it says, bounded."""
    return " ".join(("%s: %s" % (type(error).__name__, error)).split())[:LONGEST_REASON]


def _words(error: OSError) -> str:
    return "%s%s%s" % (error.filename or "", ": " if error.filename else "", error.strerror or error)


def _locked(target: Target) -> int:
    """Return the descriptor of the installation lock; raises Failed if another installation holds it."""
    folder = target.path(os.path.dirname(CAPTURE))
    os.makedirs(folder, 0o755, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Failed("another installation is running on this node: wait until it ends") from error
    return fd


def check(target: Target) -> None:
    """Raise Failed if nothing can be installed on *target*."""
    if target.is_here and os.geteuid() != 0:
        raise Failed("the installer needs root but runs as user %d: set nodes.become" % os.geteuid())
    if not target.is_here and not os.path.isdir(target.root):
        raise Failed("%s is not a folder: create the folder of nodes.root for each node" % target.root)
    if sys.version_info < OLDEST:
        raise Failed("capture needs Python 3.6 or later, but %s is %s" % (sys.executable, _python()))


def do(mode: str, node: Node, spool: "Dict[str, Any]") -> "Dict[str, Any]":
    """Run *mode* on a node with *spool* and return its answer; raises Failed and OSError."""
    target = node.target
    if mode == "status":
        connection = node.connection(spool) or None
        return {"differs": node.differences(), "relay": node.relay()[0], "connection": connection, "spool": spool}
    if mode == "install":
        lock, installation, begun = _locked(target), Installation(node), time.time()
        installation.run()
        os.close(lock)
        has_started = STARTED in installation.did
        spool = node.spool.facts()
        connection = node.connection(spool, begun if has_started else 0)
        return {
            "did": installation.did,
            "differs": node.differences(),
            "relay": node.relay()[0],
            "connection": connection or None,
            "spool": spool,
        }
    if mode == "remove":
        lock, removal = _locked(target), Removal(node)
        removal.run()
        os.close(lock)
        return {"did": removal.did, "kept": removal.kept}
    raise Failed("unknown mode %r: use status, install or remove" % mode)


def _version(target: Target) -> str:
    """Return the installed release, or "": a package keeps no record, but capture has it."""
    try:
        with open(target.path(CAPTURE), errors="replace") as stream:
            found = re.search(r'^VERSION = "([^"]{1,50})"$', stream.read(1 << 20), re.MULTILINE)
    except OSError:
        found = None
    return _read_record(target)[0] or (found.group(1) if found else "")


def _wanted(target: Target, shared: Part, own: Part) -> Node:
    """Return the wanted state: what a package installs, where one is or where this node has no files of its own."""
    packaged = [File(each) for each in shared.header.get("packaged", [])]
    if shared.header["mode"] != "remove" and (not own.files or package_on(target)):
        return Node(target, shared.header, shared.files + packaged, packaged=True)
    return Node(target, shared.header, shared.files + own.files)


def _ignore_signals() -> None:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


def _stop(number: int, _: object) -> None:
    raise Failed("stopped by signal %d; the old state is restored" % number)


def main() -> int:
    """Run the bundle on stdin, and write the answer to stdout."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, _stop)
    answer = {"python": _python()}  # type: Dict[str, Any]
    try:
        os.umask(0o022)
        shared, own = Part(sys.stdin.buffer), Part(sys.stdin.buffer)
        target = Target(own.header["root"])
        answer["node"] = own.header["node"]
        mode, places = shared.header["mode"], [SPOOL, os.path.dirname(CAPTURE)]
        if mode == "spool":
            spool = Spool(target, own.header["spool"], own.header["run"])
            answer.update(spool.here(), file_systems={spool.path: file_system(spool.path)})
        else:
            check(target)
            held = Spool(target).facts()  # first: only this has a limit on how long a disk may take
            if mode != "remove":
                answer["file_systems"] = {each: file_system(each) for each in map(target.path, places)}
            answer.update(do(mode, _wanted(target, shared, own), held))
            answer.update(version=_version(target), left_out=target.left_out)
    except Failed as error:
        answer["error"] = str(error)
    except OSError as error:
        answer["error"] = _words(error)
    except Exception as error:  # noqa: BLE001 - a bug of ours, reported in one line instead of a traceback
        answer["error"] = _in_one_line(error)
    # JSON leaves one character as it is that a terminal obeys.
    sys.stdout.write(json.dumps(answer).replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
