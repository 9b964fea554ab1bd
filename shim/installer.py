"""What puts the shim on a node, runs there as root, and is sent there each time: nothing of it stays.

It reads a bundle on stdin: two parts, what all nodes get and what is this node's own, each a line of JSON and the bytes
of its files.  It answers one line of JSON, and exits 0 where it did what it was told, 1 where it could not.

    status    says what is missing or different, and changes nothing
    install   puts there what differs: aside, synced, checked, tried; then all renamed.  Where anything fails, what was
              there before is there again
    remove    takes away what was put there, and nothing else; a spool with records in it stays

Killed at any moment, each file is the old one or the new one, whole, and the next run finishes.  With a `root` it works
inside that folder as if it were the node, and leaves alone users, systemd and the relay of this machine.

One file, standard library only, Python 3.6 and later: types that need more are texts.
"""

import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import signal
import stat
import sys

MYPY = False
if MYPY:
    from typing import Any, BinaryIO, Dict, List, Optional, Sequence, Tuple  # noqa: UP035 - for the texts; Python 3.6

RECORD = "/usr/lib/clusterbus/installed.json"  # what was put here, so that it can be taken away by any later release
CAPTURE = "/usr/libexec/clusterbus/capture.py"
RELAY = "/usr/lib/clusterbus/clusterbus-relay.pyz"
UNIT = "clusterbus-relay.service"
PACKAGE = "clusterbus-node"
SPOOL = "/var/spool/clusterbus"
NEW, OLD = ".clusterbus-new", ".clusterbus-old"
OLDEST, OLDEST_FOR_RELAY = (3, 6), (3, 9)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIMIT = 60  # seconds for one command; starting the relay is the longest


class Failed(Exception):
    """It cannot be done; the message says what and why."""


class Part:
    """A half of the bundle: its *header*, and the bytes of the files that came with it."""

    def __init__(self, stream: "BinaryIO") -> None:
        """Read it, whole; raises Failed where it is cut off or not what its checksums say."""
        try:
            self.header = json.loads(stream.readline().decode())  # type: Dict[str, Any]
            self.files = [File(each) for each in self.header.get("files", [])]
        except (ValueError, KeyError, TypeError) as error:
            raise Failed("the bundle was cut off, or is none: %s" % error) from error
        for file in self.files:
            if file.size is None:
                continue
            file.content = stream.read(file.size)
            if hashlib.sha256(file.content).hexdigest() != file.sha256:
                raise Failed("%s arrived damaged: its checksum is another, or it was cut off" % file.path)


class File:
    """A file that is wanted; its *content* is None where it was not sent."""

    def __init__(self, facts: "Dict[str, Any]") -> None:
        self.path = facts["path"]  # type: str
        self.sha256 = facts["sha256"]  # type: str
        self.owner, self.group, self.mode = facts["owner"], facts["group"], facts["mode"]
        self.size = facts.get("size")  # type: Optional[int]
        self.content = None  # type: Optional[bytes]
        parts = self.path.split("/")
        if parts[0] or not all(parts[1:]) or {".", ".."} & set(parts):
            raise ValueError("%r is no whole path" % self.path)


class Place:
    """The node: this machine, or a folder in its stead."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.is_here = not self.root
        self._known = {}  # type: Dict[Tuple[str, str], int]
        self.left_out = [] if self.is_here else ["users", "systemd", "the trial of the relay"]  # type: List[str]

    def path(self, path: str) -> str:
        return self.root + path

    def owner(self, name: str) -> "Optional[int]":
        """Return the number of user *name*; None where it is not known."""
        return self._number("passwd", name)

    def group(self, name: str) -> "Optional[int]":
        """Return the number of group *name*; None where it is not known."""
        return self._number("group", name)

    def _number(self, table: str, name: str) -> "Optional[int]":
        if name.isdigit():
            return int(name)
        if (table, name) not in self._known:
            found = self._ask_here(table, name) if self.is_here else self._ask_folder(table, name)
            if found is None:
                return None
            self._known[table, name] = found
        return self._known[table, name]

    @staticmethod
    def _ask_here(table: str, name: str) -> "Optional[int]":
        try:
            return pwd.getpwnam(name).pw_uid if table == "passwd" else grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def _ask_folder(self, table: str, name: str) -> "Optional[int]":
        if os.geteuid() != 0:
            self._leave_out("owners: this is not run by root")
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
            self._leave_out("%s %s: %s/etc/%s has no such entry" % (table, name, self.root, table))
        return 0 if name == "root" else None

    def _leave_out(self, what: str) -> None:
        if what not in self.left_out:
            self.left_out.append(what)

    def has_systemd(self) -> bool:
        return self.is_here and os.path.isdir("/run/systemd/system")

    def command(self, words: "Sequence[str]") -> "Tuple[int, str]":
        """Run *words* here; return the exit code and what was said, 127 where there is no such command."""
        import subprocess  # it takes a while, and most answers need none of it

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
            return 127, "there is no %s" % words[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            return 126, str(error)
        return ended.returncode, ended.stdout.decode("utf-8", "replace").strip()[-1000:]


class Node:
    """What is wanted on one node, and how it differs from what is there."""

    def __init__(self, place: Place, shared: "Dict[str, Any]", files: "List[File]") -> None:
        """Want *files*, and the folders and the user of *shared*; a package keeps its own record of them."""
        self.place, self.files = place, list(files)
        if not shared.get("packaged"):
            self.files.append(_record(shared["version"], files))
        self.folders = shared["folders"]  # type: List[Dict[str, Any]]
        self.user = shared["user"]  # type: Dict[str, str]
        self.version = shared["version"]  # type: str

    def differences(self) -> "List[Tuple[str, str]]":
        """Return each path that is not as it is wanted, and why."""
        found = [(file.path, why) for file in self.files for why in [self.of_file(file)] if why]
        found += [(file.path, "an installation was broken off") for file in self.files if self._has_leftovers(file)]
        found += [(each["path"], why) for each in self.folders for why in [self._of_folder(each)] if why]
        if not self.has_user():
            found.append(("user %s" % self.user["name"], "is missing"))
        if self.place.has_systemd():
            active, enabled = self.relay()
            if active != "active" or enabled != "enabled":
                found.append((UNIT, "is %s and %s" % (active, enabled)))
        return found

    def has_user(self) -> bool:
        """Say whether the relay's user is known with its group; in a folder nobody has to be."""
        name = self.user["name"]
        return not self.place.is_here or None not in (self.place.owner(name), self.place.group(name))

    def package(self) -> str:
        """Return in words which package has put the shim here, and so is who may change or remove it; else nothing."""
        try:
            with open(self.place.path("/var/lib/dpkg/info/%s.list" % PACKAGE)) as stream:
                # Of one that was removed and not purged, settings alone are listed.
                if CAPTURE in stream.read().split("\n"):
                    return "the deb %s" % PACKAGE
        except OSError:
            pass
        if self.place.is_here and self.place.command(["rpm", "-q", PACKAGE])[0] == 0:
            return "the rpm %s" % PACKAGE
        return ""

    def relay(self) -> "Tuple[str, str]":
        """Return what systemd says of the relay: whether it is active, and whether it is enabled."""
        if not self.place.has_systemd():
            return "left out", "left out"
        said = [self.place.command(["systemctl", word, UNIT])[1] for word in ("is-active", "is-enabled")]
        return said[0].split("\n")[-1] or "unknown", said[1].split("\n")[-1] or "missing"

    def of_file(self, file: File) -> str:
        path = self.place.path(file.path)
        try:
            known = os.lstat(path)
            folder = os.stat(os.path.dirname(path))
        except OSError as error:
            return "is missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else _words(error)
        if not stat.S_ISREG(known.st_mode):
            return "is no regular file"
        if folder.st_mode & 0o022:
            return "others than its owner may write its folder"
        try:
            if _sha256(path) != file.sha256:
                return "has other content"
        except OSError as error:
            return _words(error)
        return self._of_owner(known, file.owner, file.group, file.mode)

    def _of_folder(self, folder: "Dict[str, Any]") -> str:
        try:
            known = os.lstat(self.place.path(folder["path"]))
        except OSError as error:
            return "is missing" if error.errno == errno.ENOENT else _words(error)
        if not stat.S_ISDIR(known.st_mode):
            return "is no folder"
        return self._of_owner(known, folder["owner"], folder["group"], folder["mode"])

    def _of_owner(self, known: os.stat_result, owner: str, group: str, mode: int) -> str:
        user, members = self.place.owner(owner), self.place.group(group)
        if (user is not None and known.st_uid != user) or (members is not None and known.st_gid != members):
            return "belongs to %d:%d instead of %s:%s" % (known.st_uid, known.st_gid, owner, group)
        if stat.S_IMODE(known.st_mode) != mode:
            return "has mode %04o instead of %04o" % (stat.S_IMODE(known.st_mode), mode)
        return ""

    def _has_leftovers(self, file: File) -> bool:
        return any(os.path.lexists(self.place.path(file.path) + each) for each in (NEW, OLD))


class Installation:
    """Puts on a node what differs: all of it, or nothing."""

    def __init__(self, node: Node) -> None:
        self._node, self._place = node, node.place
        self._todo = []  # type: List[File]
        self._is_done = False
        self._renamed = []  # type: List[str]
        self.did = []  # type: List[str]

    def run(self) -> None:
        """Do it; raises Failed and OSError, and then everything is as it was."""
        if not self._node.differences():
            return
        package = self._node.package()
        if package:
            raise Failed(
                "%s has put the shim here, and its next update would put other files over these: take it away first,"
                " or leave nodes.relay out of the settings and write /etc/clusterbus/relay.conf by other means"
                % package
            )
        self._make_room()
        self._recover()
        self._todo = [file for file in self._node.files if self._node.of_file(file)]
        try:
            self._stage()
            for file in self._todo:
                _keep(self._place.path(file.path))
            self._put()
            self._act()
        except BaseException:
            self._undo()
            raise
        self._forget_old()

    def _make_room(self) -> None:
        for file in self._node.files:
            folder = os.path.dirname(self._place.path(file.path))
            os.makedirs(folder, 0o755, exist_ok=True)
            if os.stat(folder).st_mode & 0o022:
                raise Failed("%s: others than its owner may write there, so nothing in it is safe" % folder)

    def _recover(self) -> None:
        """Clean up after a run that was killed: finish it where all is renamed, else go back before it.

        Where only the end is missing, what tells so stays until the relay is started anew: this run may be killed too.
        """
        paths = [self._place.path(file.path) for file in self._node.files]
        self._is_done = not any(self._node.of_file(file) for file in self._node.files)
        for path in paths:
            _unlink(path + NEW)
            if not self._is_done and os.path.lexists(path + OLD):
                _put_back(path)
        _remove_trial(self._trial())

    def _stage(self) -> None:
        lacking = [file.path for file in self._todo if file.content is None]
        if lacking:
            raise Failed("%s changed while this was going on: once more will do" % lacking[0])
        self._make_user()
        for file in self._todo:
            path = self._place.path(file.path) + NEW
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as stream:
                stream.write(file.content or b"")
                stream.flush()
                self._own(fd, file.owner, file.group, file.mode)
                os.fsync(fd)
            if _sha256(path) != file.sha256:
                raise Failed("%s: what was written is not what is read back" % path)
        self._try()

    def _own(self, fd: int, owner: str, group: str, mode: int) -> None:
        user, members = self._place.owner(owner), self._place.group(group)
        if self._place.is_here and (user is None or members is None):
            raise Failed("user %s or group %s is not known here" % (owner, group))
        os.fchown(fd, -1 if user is None else user, -1 if members is None else members)
        os.fchmod(fd, mode)

    def _make_user(self) -> None:
        user = self._node.user
        if self._node.has_user():
            return
        line = 'u %s - "%s" %s %s' % (user["name"], user["comment"], user["home"], user["shell"])
        code, said = self._place.command(["systemd-sysusers", "--inline", line])
        if code:
            has_group = self._place.group(user["name"]) is not None
            words = ["useradd", "--system", "--no-create-home", "--home-dir", user["home"]]
            words += ["--gid", user["name"]] if has_group else ["--user-group"]
            words += ["--shell", user["shell"], "--comment", user["comment"], user["name"]]
            code, also = self._place.command(words)
            said = "%s; %s" % (said, also)
        if code or not self._node.has_user():
            raise Failed("user %s cannot be made: %s" % (user["name"], said))
        self.did.append("made user %s" % user["name"])

    def _try(self) -> None:
        """Have what is to be put there show that it works, before it is."""
        for file in self._todo:
            if file.content is not None and file.content.startswith(b"#!") and not file.path.endswith(".pyz"):
                compile(file.content, file.path, "exec")
            if file.path == CAPTURE:
                self._try_capture(self._place.path(file.path) + NEW)
            if file.path == RELAY and self._place.is_here:
                if sys.version_info < OLDEST_FOR_RELAY:
                    raise Failed("the relay needs Python 3.9, and %s is %s" % (sys.executable, _python()))
                code, said = self._place.command([sys.executable, "-I", self._place.path(file.path) + NEW, "--help"])
                if code:
                    raise Failed("the relay does not run here: %s" % said)

    def _try_capture(self, script: str) -> None:
        spool = self._trial()
        for each in ("", "/tmp", "/new"):
            os.mkdir(spool + each, 0o700)
        code, said = self._place.command([sys.executable, "-IS", script, "--spool", spool, "clusterbus", "trial"])
        stored = [spool + "/new/" + name for name in os.listdir(spool + "/new")]
        if code or len(stored) != 1:
            raise Failed("capture stores nothing here (see syslog): it ended with %d: %s" % (code, said))
        with open(stored[0]) as stream:
            json.load(stream)
        _remove_trial(spool)

    def _trial(self) -> str:
        return self._place.path(os.path.dirname(CAPTURE) + "/.clusterbus-trial")

    def _put(self) -> None:
        for file in self._todo:
            path = self._place.path(file.path)
            self._renamed.append(path)
            os.rename(path + NEW, path)
        for folder in sorted({os.path.dirname(path) for path in self._renamed}):
            _sync(folder)
        _forget_bytecode(self._place)
        for file in self._node.files:
            why = self._node.of_file(file)
            if why:
                raise Failed("%s %s, although it was just put there" % (file.path, why))
        self.did += [file.path for file in self._todo]

    def _act(self) -> None:
        """Make folders and start the relay."""
        if self._place.is_here:
            self._place.command(["systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/clusterbus.conf"])
        for folder in self._node.folders:
            self._make_folder(folder)
        if self._place.has_systemd():
            # The unit may be the old one for systemd, even where nothing of it was put there now.
            for words in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
                code, said = self._place.command(["systemctl", *words])
                if code:
                    raise Failed("systemctl %s: %s" % (" ".join(words), said))
            self.did.append("restarted the relay")

    def _make_folder(self, folder: "Dict[str, Any]") -> None:
        path = self._place.path(folder["path"])
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
            self.did.append(folder["path"])
        except FileExistsError:
            pass
        # The group may write above some of them: no link of theirs is followed.
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._own(fd, folder["owner"], folder["group"], folder["mode"])
        finally:
            os.close(fd)

    def _undo(self) -> None:
        """Put back what was there before, and start it again."""
        _do_not_stop()
        if self._is_done:
            return  # of what an earlier run had renamed; nothing of it is this one's, and the next one tries again
        unit = [path for path in self._renamed if path.endswith(UNIT) and not os.path.lexists(path + OLD)]
        if unit and self._place.has_systemd():
            self._place.command(["systemctl", "disable", "--now", UNIT])
        for file in self._node.files:
            path = self._place.path(file.path)
            _unlink(path + NEW)
            if os.path.lexists(path + OLD):
                _put_back(path)
            elif path in self._renamed:
                _unlink(path)
        _remove_trial(self._trial())
        if self._renamed:
            _forget_bytecode(self._place)
            if self._place.has_systemd():
                self._place.command(["systemctl", "daemon-reload"])
                if not unit:
                    self._place.command(["systemctl", "restart", UNIT])

    def _forget_old(self) -> None:
        """Remove what was kept for going back, and first what was put here before and is wanted no more.

        That is a password where there are certificates now.  The old record is the last to go, so a kill forgets none.
        """
        _do_not_stop()
        wanted = {file.path for file in self._node.files}
        for path, sha256 in _recorded(self._place, OLD).items():
            if path not in wanted and _is_still(self._place.path(path), sha256):
                _unlink(self._place.path(path))
                self.did.append("removed %s" % path)
        for file in self._node.files:
            _unlink(self._place.path(file.path) + OLD)


class Removal:
    """Takes from a node what was put there; *did* and *kept* tell what became of it."""

    def __init__(self, node: Node) -> None:
        self._node, self._place = node, node.place
        self.did = []  # type: List[str]
        self.kept = []  # type: List[str]

    def run(self) -> None:
        """Do it; what was there before, or was changed since, is kept."""
        package = self._node.package()
        if package:
            raise Failed("%s has put the shim here: it goes with the package, by apt or dnf" % package)
        ours = self._ours()
        active, enabled = self._node.relay()
        if self._place.has_systemd() and (active not in ("inactive", "unknown") or enabled == "enabled"):
            code, said = self._place.command(["systemctl", "disable", "--now", UNIT])
            if code:
                raise Failed("the relay cannot be stopped: %s" % said)
            self.did.append("stopped the relay")
        folders = set()
        # What runs as root first, the record of it all last.
        for path in sorted(ours, key=lambda each: (each == RECORD, not each.startswith("/usr/libexec/"), each)):
            here = self._place.path(path)
            folders.add(os.path.dirname(here))
            for aside in (NEW, OLD):
                _unlink(here + aside)
            if not os.path.lexists(here):
                continue
            if os.path.islink(here) or _sha256(here) not in ours[path]:
                self.kept.append("%s: it was changed since" % path)
                continue
            os.unlink(here)
            self.did.append(path)
        _forget_bytecode(self._place)
        self._remove_spool()
        for folder in sorted(folders):
            if os.path.basename(folder) == "clusterbus":
                _rmdir(folder)
        if self._place.has_systemd():
            self._place.command(["systemctl", "daemon-reload"])

    def _ours(self) -> "Dict[str, List[str]]":
        """Return the paths that we put here, each with the checksums that are ours."""
        ours = {file.path: [file.sha256] for file in self._node.files}  # type: Dict[str, List[str]]
        try:
            ours[RECORD] = [_sha256(self._place.path(RECORD))]
        except OSError:
            pass  # nothing was put here, or not to the end: what is wanted is what is known
        for path, sha256 in _recorded(self._place).items():
            ours.setdefault(path, []).append(sha256)
        return ours

    def _remove_spool(self) -> None:
        spool = self._place.path(SPOOL)
        if not os.path.isdir(spool):
            return
        inside = [name for each in ("tmp", "new", "bad", "kept") for name in _names("%s/%s" % (spool, each))]
        if inside:
            self.kept.append("%s: it holds %d files that nobody has yet" % (SPOOL, len(inside)))
            return
        if _size(spool + "/lost") > 1 and not os.path.exists(spool + "/lost.reported"):
            self.kept.append("%s: it holds losses that were not told yet" % SPOOL)
            return
        for name in ("journal", "journal.new", "lost", "lost.reported", "lost.reported.new", "full"):
            _unlink("%s/%s" % (spool, name))
        for each in ("tmp", "new", "bad", "kept", ""):
            _rmdir(os.path.join(spool, each).rstrip("/"))
        if os.path.lexists(spool):
            self.kept.append("%s: it holds what is not ours" % SPOOL)
        else:
            self.did.append(SPOOL)


def _record(version: str, files: "List[File]") -> File:
    facts = {"version": version, "files": {file.path: file.sha256 for file in files}}
    content = json.dumps(facts, sort_keys=True, indent=1).encode() + b"\n"
    wanted = {"path": RECORD, "sha256": hashlib.sha256(content).hexdigest(), "owner": "root", "group": "root"}
    file = File(dict(wanted, mode=0o600))  # there are checksums of secrets in it
    file.content = content
    return file


def _recorded(place: Place, aside: str = "") -> "Dict[str, str]":
    """Return the checksums of what was put here, by path; of the record that was kept *aside* where that is said."""
    try:
        with open(place.path(RECORD) + aside, "rb") as stream:
            files = json.loads(stream.read().decode())["files"].items()
        return {
            path: sha256
            for path, sha256 in files
            if path.startswith(("/usr/lib", "/etc/clusterbus/")) and ".." not in path.split("/")
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


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
    """Have what is at *path* under its old name as well, so that it is never missing."""
    try:
        os.link(path, path + OLD, follow_symlinks=False)
    except FileNotFoundError:
        pass


def _put_back(path: str) -> None:
    # Where both are one file, renaming does nothing at all.
    if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.lstat(path + OLD)):
        _unlink(path + OLD)
    else:
        os.rename(path + OLD, path)


def _forget_bytecode(place: Place) -> None:
    # It goes by seconds and size: a new file could have those of the old one.
    folder = place.path(os.path.dirname(CAPTURE) + "/__pycache__")
    for name in _names(folder):
        if name.startswith("capture."):
            _unlink("%s/%s" % (folder, name))
    _rmdir(folder)


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
        pass  # not there, or something is in it that is not ours


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


def _words(error: OSError) -> str:
    return "%s%s%s" % (error.filename or "", ": " if error.filename else "", error.strerror or error)


def _installed(place: Place) -> str:
    """Return the release that was put here, or an empty text."""
    try:
        with open(place.path(RECORD), "rb") as stream:
            return str(json.loads(stream.read().decode())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _locked(place: Place) -> int:
    """Return a descriptor that no other installation has at the same time."""
    folder = place.path(os.path.dirname(CAPTURE))
    os.makedirs(folder, 0o755, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Failed("another installation is at work here") from error
    return fd


def do(mode: str, node: Node) -> "Dict[str, Any]":
    """Do *mode* and return what there is to tell; raises Failed and OSError."""
    place = node.place
    if place.is_here and os.geteuid() != 0:
        raise Failed("this needs root, and is run by user %d: set nodes.become" % os.geteuid())
    if not place.is_here and not os.path.isdir(place.root):
        raise Failed("%s is no folder: nodes.root has to be there for each node" % place.root)
    if sys.version_info < OLDEST:
        raise Failed("capture needs Python 3.6, and %s is %s" % (sys.executable, _python()))
    if mode == "status":
        return {"differs": node.differences(), "relay": node.relay()[0]}
    if mode == "install":
        lock, installation = _locked(place), Installation(node)
        installation.run()
        os.close(lock)
        return {"did": installation.did, "differs": node.differences(), "relay": node.relay()[0]}
    if mode == "remove":
        lock, removal = _locked(place), Removal(node)
        removal.run()
        os.close(lock)
        return {"did": removal.did, "kept": removal.kept}
    raise Failed("%r is none of status, install and remove" % mode)


def _do_not_stop() -> None:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


def _stop(number: int, _: object) -> None:
    raise Failed("it was ended by signal %d; everything is as it was" % number)


def main() -> int:
    """Do what stdin says, tell what came of it."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, _stop)
    answer = {"python": _python()}  # type: Dict[str, Any]
    try:
        os.umask(0o022)
        shared, own = Part(sys.stdin.buffer), Part(sys.stdin.buffer)
        place = Place(own.header["root"])
        answer["node"] = own.header["node"]
        answer.update(do(shared.header["mode"], Node(place, shared.header, shared.files + own.files)))
        answer.update(version=_installed(place), left_out=place.left_out)
    except Failed as error:
        answer["error"] = str(error)
    except OSError as error:
        answer["error"] = _words(error)
    except Exception as error:  # noqa: BLE001 - a mistake of ours, told as such and not as a page of Python
        answer["error"] = "%s: %s" % (type(error).__name__, error)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
