#!/usr/bin/python3 -IS
"""Store what this was called with as one record in the spool, and leave.

    capture [OPTION VALUE ...] SOURCE EVENT [ARGUMENT ...]

A storage daemon runs this as root on every event, and may wait for it.  So it exits 0 whatever happens, and within
its deadline even where the disk hangs: a child does the storing, and this process only listens to it.  What cannot
be stored goes to syslog whole, with the reason, and is counted in ``lost``.  What is wrong on the command line is
reported there too, and the event is stored all the same.

It parses nothing, follows no symbolic link in the spool, and keeps no descriptor of its caller's.  Python compiles
this file at every call, 10 microseconds a line, which is most of what a call costs: so code is sparse here, and types
are comments, which cost nothing.
"""
# ruff: noqa: UP031, PLR2004 - % is compiled in half the time that format strings take, and a name costs a line

import posix  # not os, whose own imports take as long as everything that is done here
import sys
import time

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401, UP035 - for the comments; Python 3.6

VERSION = "0.1.0"
RUN = "/run/clusterbus"  # where losses are counted when the spool cannot be written: memory neither fills nor hangs
CUT = 1 << 20  # bytes of arguments that a record holds
LARGEST = 8 * CUT  # bytes that no record has: escaping makes at most six of one
PEEK = 128  # entries of new/ that every capture looks at
SAMPLE = 32  # past PEEK entries one capture in SAMPLE counts them all, and asks one entry in SAMPLE for its size
PART = 2000  # characters in a line of syslog: 8 KiB at the very most, which no syslog cuts

_WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LABEL = "abcdefghijklmnopqrstuvwxyz0123456789-"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FOLDER = posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


class Full(OSError):
    """The spool holds as much as it may: the old is kept, the new refused."""


class Unsafe(OSError):
    """The spool is no place where a record is safe."""


class Record:
    """What capture was called with, *arguments* as bytes, at *moment* (nanoseconds of the epoch)."""

    def __init__(self, source, event, arguments, node, moment, ident, boot):
        # type: (str, str, List[bytes], str, int, str, str) -> None
        self.source = _clean(source[:100], _WORD, "_")
        self.event = _clean(event[:100], _WORD, "_")
        self.node = _clean(node.lower()[:63], _LABEL, "-")
        self.arguments = arguments
        self.size = sum(map(len, arguments)) + len(arguments)  # with a NUL after each
        self.moment = moment
        self.id = ident
        self.boot = boot
        self.name = "%019d.%s.json" % (moment, ident)
        self.kept = ""  # the file in kept/ that has all arguments, where they are too large for a record


def _clean(text, allowed, instead):
    # type: (str, str, str) -> str
    return "".join([c if c in allowed else instead for c in text]) or instead


def record_now(source, event, arguments, node=""):
    # type: (str, str, List[bytes], str) -> Record
    """Return a record of this moment, with an id of its own; an empty *node* is the host name's first label."""
    clock = getattr(time, "time_ns", None)  # not in Python 3.6, where a float of seconds is good for microseconds
    moment = clock() if clock else int(time.time() * 1000000) * 1000
    ident = ulid(moment, _read("/dev/urandom", 10) or posix.urandom(10))  # which may wait, early in the boot
    boot = _read("/proc/sys/kernel/random/boot_id", 36).decode()
    return Record(source, event, arguments, node or posix.uname().nodename.partition(".")[0], moment, ident, boot)


def _read(path, size):
    # type: (str, int) -> bytes
    try:
        fd = posix.open(path, posix.O_CLOEXEC)
    except OSError:
        return b""
    content = posix.read(fd, size)
    posix.close(fd)
    return content


def ulid(moment, randomness):
    # type: (int, bytes) -> str
    """Return the ULID of *moment* (nanoseconds of the epoch) and ten bytes of *randomness*.

    >>> ulid(1763652127980656123, b"clusterbus")
    '01KAGXQK7CCDP7AWVMCNS64XBK'
    """
    number = moment // 1000000 << 80 | int.from_bytes(randomness, "big")
    return "".join([_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5)])


def quoted(raw):
    # type: (bytes) -> str
    r"""Return *raw* as a JSON string; a byte that is not UTF-8 becomes its surrogate escape, and so comes back.

    >>> print(quoted(b'a "b" \xff'))
    "a \"b\" \udcff"
    """
    text = raw.decode("utf-8", "surrogateescape")
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    if not text.isprintable():  # more than JSON demands: line ends of Unicode, what a terminal acts on
        odd = [c for c in set(text) if not c.isprintable() and c <= "\uffff"]
        text = text.translate({ord(c): "\\u%04x" % ord(c) for c in odd})
    return '"%s"' % text


def encode(record, limit=CUT):
    # type: (Record, int) -> bytes
    """Return *record* as its line, with the leading arguments that fit whole in *limit* bytes."""
    taken = record.arguments
    cut = ""
    if record.size > limit:
        taken = []
        for argument in record.arguments:
            limit -= len(argument) + 1
            if limit < 0:
                break
            taken.append(argument)
        cut = ',"cut":{"bytes":%d,"kept":"%s"}' % (record.size - 1, record.kept)
    captured_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.moment // 1000000000))
    facts = record.id, record.source, record.event, record.node, captured_at, record.moment % 1000000000, record.boot
    head = '{"v":1,"id":"%s","source":"%s","event":"%s","node":"%s","captured_at":"%s.%09dZ","boot":"%s",' % facts
    return ('%s"arguments":[%s]%s}\n' % (head, ",".join(map(quoted, taken)), cut)).encode()


def put(spool, record, max_bytes=1 << 30, max_files=100000):
    # type: (str, Record, float, float) -> str
    """Store *record* so that a reader sees all of it or none of it; return its path.

    The file is synced before it is renamed, and its folder after: a path that was returned survives a power cut.
    Nothing is written through a symbolic link in *spool*.  Raises Full past *max_bytes* or *max_files*, Unsafe where
    the spool belongs to a stranger or anyone may write it, and OSError.
    """
    opened = [posix.open(spool, _FOLDER)]
    try:
        status = posix.fstat(opened[0])
        if status.st_uid not in (0, posix.geteuid()) or status.st_mode & 2:
            raise Unsafe("the spool must belong to root, and not everyone may write it")
        opened += [posix.open(name, _FOLDER, dir_fd=opened[0]) for name in ("tmp", "new")]
        _check_room(spool, opened, record.id, max_bytes, max_files)
        _write(opened[1], record.name, encode(record))
        posix.rename(record.name, record.name, src_dir_fd=opened[1], dst_dir_fd=opened[2])
        posix.fsync(opened[2])
    finally:
        for fd in opened:
            posix.close(fd)
    return "%s/new/%s" % (spool, record.name)


def _write(folder, name, content):
    # type: (int, str, bytes) -> None
    """Make the file *name* in *folder*: whole and on the disk, or not at all."""
    fd = posix.open(name, _CREATE, 0o640, dir_fd=folder)
    try:
        while content:
            content = content[posix.write(fd, content) :]
        posix.fsync(fd)
    except OSError:
        posix.unlink(name, dir_fd=folder)
        raise
    finally:
        posix.close(fd)


def _check_room(spool, opened, ident, max_bytes, max_files):
    # type: (str, List[int], str, float, float) -> None
    """Raise Full where ``new/`` has reached a bound, to within a few dozen records.

    A capture must cost the same with any backlog, so past PEEK entries only one in SAMPLE counts: its random *ident*
    says which.  A full spool is marked with the time of its last change: for ten seconds captures are refused without
    counting while that is unchanged, and all of them count when it is not.
    """
    lately = False
    changed = posix.fstat(opened[2]).st_mtime_ns
    try:
        mark = posix.lstat(spool + "/full")
        lately = 0 <= time.time() - mark.st_ctime < 10
        if lately and mark.st_mtime_ns == changed:
            raise Full("the spool is still full: does the relay run and reach the broker?")
    except FileNotFoundError:
        pass
    with posix.scandir(spool + "/new") as entries:
        count = len(list(zip(range(PEEK), entries)))
    sure = count * LARGEST < max_bytes if count < PEEK else ident[-1] != "0"
    if lately or not sure or count >= max_files:
        count, size = _weigh(spool + "/new")
        if count >= max_files or size >= max_bytes:
            try:
                fd = _mark(opened[0], "full", posix.O_CREAT, b"")
                posix.utime(fd, ns=(changed, changed))
                posix.close(fd)
            except OSError:  # then the next one counts again
                pass
            raise Full("the spool has %d files of %d bytes: does the relay run and reach the broker?" % (count, size))


def _weigh(folder):
    # type: (str) -> Tuple[int, int]
    """Return how many files are in *folder*, and their bytes: past PEEK files an estimate."""
    count = size = 0
    with posix.scandir(folder) as entries:
        for entry in entries:
            count += 1
            if count <= PEEK or count % SAMPLE == 0:
                try:
                    size += entry.stat(follow_symlinks=False).st_size * (1 if count <= PEEK else SAMPLE)
                except OSError:  # removed meanwhile
                    count -= 1
    return count, size


def _keep(spool, record, max_bytes):
    # type: (str, Record, float) -> None
    """Store all arguments of *record* in ``kept/``; raises Full where *max_bytes* are there already, and OSError."""
    top = posix.open(spool, _FOLDER)
    folder = posix.open("kept", _FOLDER, dir_fd=top)
    if _weigh(spool + "/kept")[1] >= max_bytes:
        raise Full("kept/ is full: remove what nobody needs any more")
    _write(folder, record.id, b"\0".join(record.arguments))
    posix.fsync(folder)
    record.kept = record.id


def _mark(top, name, flags, mark):
    # type: (int, str, int, bytes) -> int
    """Add *mark* to the file *name* in the folder *top*; return its descriptor.

    Only to a plain file that has no other name: the relay, which is not trusted, may write the folder.
    """
    fd = posix.open(name, _APPEND | flags, 0o644, dir_fd=top)
    status = posix.fstat(fd)
    if status.st_mode >> 12 != 8 or status.st_nlink != 1:
        posix.close(fd)
        raise Unsafe("%s is not a file of its own" % name)
    posix.write(fd, mark)
    return fd


def _mark_lost(folder, flags, reason):
    # type: (str, int, bytes) -> None
    """Add *reason* to ``lost`` in *folder*: ``f`` for a full spool, ``d`` for a full disk, ``e`` for another."""
    top = posix.open(folder, _FOLDER)
    try:
        fd = _mark(top, "lost", flags, reason)
        if folder != RUN:
            posix.fsync(fd)
        posix.close(fd)
    finally:
        posix.close(top)


def _lose(spool, reason, record, why):
    # type: (str, bytes, Record, str) -> None
    """Count *record* as lost, in *spool* or else in RUN, and tell *why*."""
    try:
        _mark_lost(spool, 0, reason)
    except OSError:
        try:  # noqa: SIM105 - contextlib takes longer to import than all of this
            posix.mkdir(RUN, 0o755)
        except OSError:  # it is there
            pass
        try:
            _mark_lost(RUN, posix.O_CREAT, reason)
        except OSError as error:
            why += ", nor counted: %a" % error
    tell(record, "not stored: " + why)


def tell(record, sentence):
    # type: (Record, str) -> None
    """Send *record* to syslog, whole, in numbered parts, each after *sentence*."""
    import syslog  # noqa: PLC0415 - hardly ever needed

    syslog.openlog("clusterbus-capture", syslog.LOG_PID, syslog.LOG_DAEMON)
    text = encode(record, record.size).decode().rstrip()
    starts = range(0, len(text), PART)
    for number, start in enumerate(starts, 1):
        facts = record.id, sentence, number, len(starts), text[start : start + PART]
        syslog.syslog(syslog.LOG_ERR, "record %s %s: part %d of %d: %s" % facts)


def parse(argv):
    # type: (List[str]) -> Tuple[Dict[str, Any], List[str], List[str]]
    """Return the options, the words after them, and what is wrong with them, which is left at its default.

    A name that is not known has a value, as all names have, unless SOURCE and EVENT would be missing then.
    """
    options = {"--spool": "/var/spool/clusterbus", "--node": ""}  # type: Dict[str, Any]
    options.update({"--wait": 0.0, "--deadline": 5.0, "--max-bytes": float(1 << 30), "--max-files": 1e5})
    wrong = []
    words = argv[::-1]
    while words and words[-1][:1] == "-":
        name = words.pop()
        if name == "--":
            break
        value = ""
        if (name in options and words) or (len(words) > 2 and "-" not in (words[-1][:1], words[-3][:1])):
            value = words.pop()
        try:
            wanted = type(options[name])(value)
            if wanted != wanted or (name == "--spool" and value[:1] != "/"):  # noqa: PLR0124 - so is only NaN
                raise ValueError  # noqa: TRY301 - one place for all that is wrong
            options[name] = wanted
        except (KeyError, ValueError):
            wrong.append("%a %a is no option" % (name, value))
    return options, words[::-1], wrong


def main(argv):
    # type: (List[str]) -> None
    """Capture what *argv* says, and end this process with 0."""
    began = time.monotonic()
    try:
        if argv == ["--version"]:
            posix.write(1, b"clusterbus-capture %s\n" % VERSION.encode())
        else:
            _capture(argv, began)
    except BaseException as error:  # noqa: BLE001 - nothing may come of it but a line in syslog
        words = [word.encode("utf-8", "surrogateescape") for word in argv]
        tell(Record("", "", words, "", 0, "-", ""), "perhaps not stored: %a" % error)
    finally:
        # Whatever was raised, for the daemon acts on exit codes; and without the 2 ms that a return takes.
        posix._exit(0)  # noqa: SLF001 - os._exit


def _capture(argv, began):
    # type: (List[str], float) -> None
    """Have a child store what *argv* says; where it does not in time, have another tell syslog."""
    _let_go()
    options, words, wrong = parse(argv)
    if len(words) < 2 or words[1][:1] == "-":
        wrong.append("SOURCE and EVENT come before the arguments")
        words = ["".join(words[:1]), "", *argv]
    arguments = [word.encode(sys.getfilesystemencoding(), "surrogateescape") for word in words[2:]]
    record = record_now(words[0], words[1], arguments, options["--node"])
    deadline = max(0.1, min(300, options["--deadline"]))
    wait = min(3600, options["--wait"])
    child, pipe = _start(_store, record, options, wrong)
    if not _hear(pipe, began + 0.8 * deadline):
        _hear(_start(_give_up, record)[1], began + deadline)
    elif _hear(pipe, max(began + deadline, time.monotonic() + wait)) == b"":
        try:  # noqa: SIM105 - as above
            posix.waitpid(child, 0)  # or it would stay where nobody adopts the dead
        except OSError:  # the daemon ignores SIGCHLD, and so do we
            pass


def _let_go():
    # type: () -> None
    """Drop what was inherited: a child that hangs must not keep the daemon's pipes open."""
    posix.umask(0o022)
    try:
        null = posix.open("/dev/null", posix.O_RDWR)
        for fd in range(3):  # not left closed: a file of the spool would become someone's stderr
            posix.dup2(null, fd)
    except OSError:
        pass
    posix.closerange(3, 1024)


def _start(work, *arguments):
    # type: (Callable[..., None], Any) -> Tuple[int, int]
    """Call *work* with a pipe and *arguments* in a child; return the child, and the pipe's other end."""
    ours = theirs = -1
    try:
        ours, theirs = posix.pipe()
        child = posix.fork()
    except OSError:  # no more processes, or descriptors: then here, though nobody will bound it
        child, theirs = 0, -1
    if child:
        posix.close(theirs)
        return child, ours
    try:
        if theirs > 0:
            posix.close(ours)
            posix.setsid()  # the daemon may lose patience and kill its group
        work(theirs, *arguments)
    finally:
        posix._exit(0)  # noqa: SLF001 - os._exit


def _hear(pipe, until):
    # type: (int, float) -> Optional[bytes]
    """Return the next byte from *pipe*, nothing at its end, or None where it does not come in time."""
    import select  # noqa: PLC0415 - after the child is at work

    ready = select.select([pipe], [], [], max(0, until - time.monotonic()))[0]
    return posix.read(pipe, 1) if ready else None


def _store(pipe, record, options, wrong):
    # type: (int, Record, Dict[str, Any], List[str]) -> None
    """Store *record*, or tell syslog; say so on *pipe*; wait, if asked to, until the record is confirmed."""
    spool = options["--spool"]
    path = ""
    until = 0.0
    try:
        if record.size > CUT:
            try:
                _keep(spool, record, options["--max-bytes"])
            except OSError as error:
                wrong.append("arguments not kept: %a" % error)
        path = put(spool, record, options["--max-bytes"], options["--max-files"])
        until = time.monotonic() + min(3600, options["--wait"])
        if wrong:
            tell(record, "stored, but: " + "; ".join(wrong))
    except Exception as error:  # noqa: BLE001 - whatever it was, the event must not be lost
        full_disk = getattr(error, "errno", None) in (28, 122)  # ENOSPC, EDQUOT
        _lose(spool, b"f" if isinstance(error, Full) else b"d" if full_disk else b"e", record, ascii(error))
    posix.write(pipe, b".")
    while time.monotonic() < until:
        try:
            posix.lstat(path)
        except FileNotFoundError:
            return
        time.sleep(0.01)


def _give_up(_, record):
    # type: (int, Record) -> None
    _lose("", b"e", record, "the disk hangs, or its process was killed; perhaps it will be stored later")


if __name__ == "__main__":
    main(sys.argv[1:])
