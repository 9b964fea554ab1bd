#!/usr/bin/python3 -IS
"""Store the arguments of this call as one record in the spool, then exit.

    capture [OPTION VALUE ...] SOURCE EVENT [ARGUMENT ...]

A storage daemon runs this as root on every event, and may wait for it.  So this exits 0, and within its deadline even
if the disk hangs: a child stores the record, and this process only waits for it.  If the record cannot be stored, the
whole record goes to syslog with the reason, and ``lost`` counts it.  Wrong options go to syslog too; the event is
stored anyway.  What syslog does not take goes to a last file in memory, ``/run/clusterbus/unsaved``.

A timer ends every process that this starts.  If no child can be started, the timer ends this process at its deadline;
only then does it not exit 0, and ``unsaved`` has the record.

It parses no argument, follows no symbolic link in the spool, and keeps none of its caller's descriptors open.  Python
compiles this file at every call, at 10 microseconds a line, which is most of the cost of a call.  So the code is
short, and types are comments, which cost nothing.
"""
# ruff: noqa: UP031, PLR2004 - % compiles in half the time of a format string, and a name for a number costs a line

import _signal  # type: ignore[import-not-found]  # not signal: as below
import posix  # not os: its own imports take as long as all the work here
import sys
import time

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401, UP035 - for the comments; Python 3.6

VERSION = "0.1.0"
RUN = "/run/clusterbus"  # counts losses if the spool cannot be written: memory neither fills nor hangs
UNSAVED = "unsaved"  # in RUN: what neither the spool nor syslog took
MOST_UNSAVED = 4 << 20  # the most bytes in it
CUT = 1 << 20  # the most bytes of arguments that a record holds, as they are written in it
LARGEST = CUT + 4096  # more bytes than any record has
LIFE = 300.0  # seconds after which a child ends: a disk that hangs and then answers still gets the record
MOST_SAID = 1000  # characters of a sentence before a record
SYSLOG = 2.0  # seconds for syslog to take a part of a record; five times that for all parts
PAUSE = 0.002  # seconds that a child leaves to the process before it, which would end later beside it: they share pages
REAPERS = (b"systemd\n", b"init\n", b"tini\n")  # under another process 1, a child that nobody waits for stays a zombie
PEEK = 128  # entries of new/ that a capture counts at most
SAMPLE = 32  # past PEEK entries, one capture in SAMPLE counts them all, and reads the size of one entry in SAMPLE
PART = 1700  # characters of a record in a line of syslog: with the sentence at most 8 KiB, which no syslog truncates

_WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LABEL = "abcdefghijklmnopqrstuvwxyz0123456789-"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FOLDER = posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


class Full(OSError):
    """The spool has reached its limit: it keeps its records and refuses new ones."""


class Unsafe(OSError):
    """Others could change a record in this spool."""


class Record:
    """One call of capture: *arguments* as bytes, *moment* in nanoseconds since 1970."""

    def __init__(self, source, event, arguments, node, moment, ident, boot):
        # type: (str, str, List[bytes], str, int, str, str) -> None
        self.source = _clean(source[:100], _WORD, "_")
        self.event = _clean(event[:100], _WORD, "_")
        self.node = _clean(node.lower()[:63], _LABEL, "-")
        self.arguments = arguments
        self.size = sum(map(len, arguments)) + len(arguments)  # as they were given, each with a NUL at its end
        self.moment = moment
        self.id = ident
        self.boot = boot
        self.name = "%019d.%s.json" % (moment, ident)
        self.kept = ""  # the file in kept/ with all arguments, if they are too large for a record
        self.line = b""  # of a record that need not be cut: made before the fork, after which each page is copied


def _clean(text, allowed, instead):
    # type: (str, str, str) -> str
    if text.strip(allowed):
        text = "".join([c if c in allowed else instead for c in text])
    return text or instead


def record_now(source, event, arguments, node=""):
    # type: (str, str, List[bytes], str) -> Record
    """Return a record of this moment with a new id; an empty *node* means the first label of the host name."""
    clock = getattr(time, "time_ns", None)  # Python 3.6 has only a float of seconds, exact to microseconds
    moment = clock() if clock else int(time.time() * 1000000) * 1000
    boot = _read("/proc/sys/kernel/random/boot_id", 36).decode()
    node = node or posix.uname().nodename.partition(".")[0]
    return Record(source, event, arguments, node, moment, ulid(moment, _randomness()), boot)


def _randomness():
    # type: () -> bytes
    try:
        return posix.getrandom(10, posix.GRND_NONBLOCK)
    except (AttributeError, OSError):  # an old kernel; or early in the boot, when urandom(10) would block
        return _read("/dev/urandom", 10) or posix.urandom(10)


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
    """Return the ULID of *moment* (nanoseconds since 1970) and ten bytes of *randomness*.

    >>> ulid(1763652127980656123, b"clusterbus")
    '01KAGXQK7CCDP7AWVMCNS64XBK'
    """
    number = moment // 1000000 << 80 | int.from_bytes(randomness, "big")
    return "".join([_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5)])


def quoted(raw):
    # type: (bytes) -> str
    r"""Return *raw* as a JSON string; a byte that is not UTF-8 becomes its surrogate escape, so no byte is lost.

    >>> print(quoted(b'a "b" \xff'))
    "a \"b\" \udcff"
    """
    text = raw.decode("utf-8", "surrogateescape")
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    if not text.isprintable():  # escapes more than JSON requires: Unicode line ends and terminal control codes
        odd = [c for c in set(text) if not c.isprintable() and c <= "\uffff"]
        text = text.translate({ord(c): "\\u%04x" % ord(c) for c in odd})
    return '"%s"' % text


def _taken(record, limit):
    # type: (Record, int) -> List[bytes]
    """Return the first arguments of *record*, quoted, that fit completely into *limit* bytes with their commas."""
    taken = []
    for argument in record.arguments:
        text = quoted(argument).encode()
        limit -= len(text) + 1
        if limit < 0:
            break
        taken.append(text)
    return taken


def encode(record, limit=CUT):
    # type: (Record, int) -> bytes
    """Return the line of *record*, with the first arguments that, as JSON, fit completely into *limit* bytes."""
    taken = _taken(record, limit)
    cut = ""
    if len(taken) < len(record.arguments):
        cut = ',"cut":{"bytes":%d,"kept":"%s"}' % (record.size - 1, record.kept)
    captured_at = "%d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(record.moment // 1000000000)[:6]
    facts = record.id, record.source, record.event, record.node, captured_at, record.moment % 1000000000, record.boot
    head = '{"v":1,"id":"%s","source":"%s","event":"%s","node":"%s","captured_at":"%s.%09dZ","boot":"%s",' % facts
    return b'%s"arguments":[%s]%s}\n' % (head.encode(), b",".join(taken), cut.encode())


def put(spool, record, max_bytes=1 << 30, max_files=100000):
    # type: (str, Record, float, float) -> str
    """Store *record* so that a reader sees all of it or none of it; return its path.

    Syncs the file before the rename and its folder after it: a record whose path is returned survives a power cut.
    Writes through no symbolic link in *spool*.  Raises Unsafe if the spool belongs to another user or everyone may
    write to it, and OSError.  Raises Full past *max_bytes* or *max_files* if ``mark_if_full`` has marked the spool.
    """
    opened = [_open_spool(spool)]
    try:
        opened.append(posix.open("tmp", _FOLDER, dir_fd=opened[0]))
        opened.append(posix.open("new", _FOLDER, dir_fd=opened[0]))
        # Not lstat: the error for a missing file is slow, because it loads its message from the C library.
        if posix.access("full", posix.F_OK, dir_fd=opened[0], follow_symlinks=False):
            _check_room(spool, opened, max_bytes, max_files)
        _write(opened[1], record.name, record.line or encode(record))
        posix.rename(record.name, record.name, src_dir_fd=opened[1], dst_dir_fd=opened[2])
        posix.fsync(opened[2])
    finally:
        for fd in opened:
            posix.close(fd)
    return "%s/new/%s" % (spool, record.name)


def _open_spool(spool):
    # type: (str) -> int
    """Return the descriptor of the folder *spool*; raises Unsafe and OSError, and then nothing may be written in it."""
    top = posix.open(spool, _FOLDER)
    status = posix.fstat(top)
    if (status.st_uid and status.st_uid != posix.geteuid()) or status.st_mode & 2:
        posix.close(top)
        raise Unsafe("the spool is unsafe: make root its owner, and take away write permission for others")
    return top


def _write(folder, name, content):
    # type: (int, str, bytes) -> None
    """Create the file *name* in *folder*: complete and synced, or not at all."""
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


def _check_room(spool, opened, max_bytes, max_files):
    # type: (str, List[int], float, float) -> None
    """Count ``new/``: raise Full if it has reached a limit, otherwise remove the mark ``full``.

    The mark holds the time of the last change of ``new/``.  For ten seconds every capture fails without counting while
    that time is the same, and counts once it differs.
    """
    changed = posix.fstat(opened[2]).st_mtime_ns
    try:
        mark = posix.stat("full", dir_fd=opened[0], follow_symlinks=False)
        if mark.st_mtime_ns == changed and 0 <= time.time() - mark.st_ctime < 10:
            raise Full("the spool is still full: is the relay running and connected?")
    except FileNotFoundError:  # another capture has just found room
        return
    count, size = _measure(spool + "/new")
    is_full = count >= max_files or size >= max_bytes
    try:
        if is_full:
            _mark_full(opened[0], changed)
        else:
            posix.unlink("full", dir_fd=opened[0])
    except OSError:  # then the next capture counts again
        pass
    if is_full:
        raise Full("the spool is full (%d files, %d bytes): is the relay running and connected?" % (count, size))


def mark_if_full(spool, ident, max_bytes=1 << 30, max_files=100000):
    # type: (str, str, float, float) -> None
    """Mark *spool* with ``full`` if ``new/`` has reached a limit, to within a few dozen records.

    A capture must cost the same with any backlog.  So this runs after the record is stored, when nobody waits for it,
    and only the captures after it count before they store.  Past PEEK records, one capture in SAMPLE counts here: its
    random *ident* decides.  Only a limit below PEEK records makes all of them count.
    """
    count = PEEK
    try:
        # A folder of 256 KiB has, or had, thousands of entries, and takes long to read.
        if max_bytes < PEEK * LARGEST and posix.lstat(spool + "/new").st_size < 1 << 18:
            with posix.scandir(spool + "/new") as entries:
                count = len(list(zip(range(PEEK), entries)))
        has_room = count * LARGEST < max_bytes if count < PEEK else ident[-1] != "0"
        if not has_room or count >= max_files:
            count, size = _measure(spool + "/new")
            if count >= max_files or size >= max_bytes:
                top = _open_spool(spool)
                _mark_full(top, 0)  # never the time of ``new/``: the next capture counts
                posix.close(top)
    except OSError:  # then the next capture tries it
        pass


def _mark_full(top, changed):
    # type: (int, int) -> None
    fd = _mark(top, "full", posix.O_CREAT, b"")
    posix.utime(fd, ns=(changed, changed))
    posix.close(fd)


def _measure(folder):
    # type: (str) -> Tuple[int, int]
    """Return the number of files in *folder* and their total bytes, which is an estimate past PEEK files."""
    count = size = 0
    with posix.scandir(folder) as entries:
        for entry in entries:
            count += 1
            if count <= PEEK or count % SAMPLE == 0:
                try:
                    size += entry.stat(follow_symlinks=False).st_size * (1 if count <= PEEK else SAMPLE)
                except OSError:  # removed in the meantime
                    count -= 1
    return count, size


def _keep(spool, record, max_bytes):
    # type: (str, Record, float) -> None
    """Store all arguments of *record* in ``kept/``; raises Full past *max_bytes*, Unsafe, and OSError."""
    top = _open_spool(spool)
    folder = posix.open("kept", _FOLDER, dir_fd=top)
    if _measure(spool + "/kept")[1] >= max_bytes:
        raise Full("the folder kept/ is full: remove the files that you no longer need")
    _write(folder, record.id, b"\0".join(record.arguments))
    posix.fsync(folder)
    record.kept = record.id


def _mark(top, name, flags, mark, mode=0o644):
    # type: (int, str, int, bytes, int) -> int
    """Append *mark* to the file *name* in the folder *top*; return its descriptor.

    Raises Unsafe unless it is a regular file with one link: the relay, which is not trusted, may write to *top*.
    """
    fd = posix.open(name, _APPEND | flags, mode, dir_fd=top)
    status = posix.fstat(fd)
    if status.st_mode >> 12 != 8 or status.st_nlink != 1:
        posix.close(fd)
        raise Unsafe("%s is not a regular file with one link: remove it" % name)
    posix.write(fd, mark)
    return fd


def _mark_lost(folder, flags, reason):
    # type: (str, int, bytes) -> None
    """Append *reason* to ``lost`` in *folder*: ``f`` means full spool, ``d`` full disk, ``e`` any other error."""
    top = posix.open(folder, _FOLDER)
    try:
        fd = _mark(top, "lost", flags, reason)
        if folder != RUN:
            posix.fsync(fd)
        posix.close(fd)
    finally:
        posix.close(top)


def _count_lost(spool, reason):
    # type: (str, bytes) -> str
    """Count one capture as lost, in *spool* or else in RUN; return the error if neither is possible."""
    try:
        _mark_lost(spool, 0, reason)
    except OSError:
        try:
            _make_run()
            _mark_lost(RUN, posix.O_CREAT, reason)
        except OSError as error:
            return ", and not counted: %a" % error
    return ""


def _make_run():
    # type: () -> None
    try:  # noqa: SIM105 - contextlib takes longer to import than all the work here
        posix.mkdir(RUN, 0o755)
    except OSError:  # it exists
        pass


def _tell(record, sentence):
    # type: (Record, str) -> None
    """Send all of *record* with *sentence* to syslog, or else append it to UNSAVED; bounded in time and size."""
    try:
        _to_syslog(record, sentence)
    except Exception as error:  # noqa: BLE001 - no error may lose the event
        _save_last("%s; syslog did not take it: %a" % (sentence, error), record)


def _save_last(sentence, record, most=MOST_UNSAVED):
    # type: (str, Record, int) -> None
    """Append a line of *sentence* and *record* to UNSAVED, cut if it has no room below *most*, or not at all."""
    opened = []
    try:
        _make_run()
        opened.append(posix.open(RUN, _FOLDER))
        fd = _mark(opened[0], UNSAVED, posix.O_CREAT, b"", 0o600)
        opened.append(fd)
        room = most - posix.fstat(fd).st_size
        for limit in (most, CUT, 0):
            text = b"%s: %s" % (sentence[:MOST_SAID].encode("ascii", "backslashreplace"), encode(record, limit))
            if len(text) <= room:
                posix.write(fd, text)
                break
    except OSError:  # nothing is left that could take it; ``lost`` counts it
        pass
    for fd in opened:
        posix.close(fd)


def _to_syslog(record, sentence):
    # type: (Record, str) -> None
    """Send all of *record* to syslog in numbered parts, each after *sentence*; raises OSError if it takes too long.

    Does not use the module ``syslog``, which waits without limit and does not report errors.
    """
    import _socket  # noqa: PLC0415 - rarely needed

    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    end = b""
    try:
        line.connect("/dev/log")
    except OSError as error:
        if error.errno != 91:  # EPROTOTYPE: some syslogs read a stream
            raise
        line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        line.settimeout(SYSLOG)
        line.connect("/dev/log")
        end = b"\0"
    left = _signal.getitimer(_signal.ITIMER_REAL)[0]  # 0 if this process has no timer
    until = time.monotonic() + min(5 * SYSLOG, left / 2 or 5 * SYSLOG)
    text = encode(record, 1 << 62).decode().rstrip()
    starts = range(0, len(text), PART)
    for number, start in enumerate(starts, 1):
        facts = record.id, sentence[:MOST_SAID], number, len(starts), text[start : start + PART]
        header = "<27>%s clusterbus-capture[%d]: " % (time.strftime("%b %e %H:%M:%S"), posix.getpid())
        part = (header + "record %s %s: part %d of %d: %s" % facts).encode("utf-8", "backslashreplace") + end
        while part:
            line.settimeout(max(0.001, min(SYSLOG, until - time.monotonic())))
            part = part[line.send(part) :]


def parse(argv):
    # type: (List[str]) -> Tuple[Dict[str, Any], List[str], List[str]]
    """Return the options, the words after them, and the mistakes; an option with a mistake keeps its default.

    An unknown option takes a value, as all options do, unless SOURCE and EVENT would be missing then.
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
            if wanted != wanted or (name == "--spool" and value[:1] != "/"):  # noqa: PLR0124 - only NaN does that
                raise ValueError  # noqa: TRY301 - one handler for all mistakes
            options[name] = wanted
        except (KeyError, ValueError):
            wrong.append("%a %a is not a valid option" % (name, value))
    return options, words[::-1], wrong


def main(argv):
    # type: (List[str]) -> None
    """Capture the event in *argv*, and exit this process with 0."""
    began = time.monotonic()
    try:
        if argv == ["--version"]:
            posix.write(1, b"clusterbus-capture %s\n" % VERSION.encode())
        else:
            _capture(argv, began)
    except BaseException as error:  # noqa: BLE001 - any error may only lead to a line in syslog
        words = [word.encode("utf-8", "surrogateescape") for word in argv]
        _tell(Record("", "", words, "", 0, "-", ""), "perhaps not stored: %a" % error)
    finally:
        # Even after an error, because the daemon acts on exit codes; and a return would take 2 ms.
        posix._exit(0)  # noqa: SLF001 - os._exit


def _capture(argv, began):
    # type: (List[str], float) -> None
    """Start a child that stores the event in *argv*; if it misses the deadline, start another that reports that."""
    _detach()
    options, words, wrong = parse(argv)
    if len(words) < 2 or words[1][:1] == "-":
        wrong.append("SOURCE and EVENT must come before the arguments")
        words = ["".join(words[:1]), "", *argv]
    arguments = [word.encode(sys.getfilesystemencoding(), "surrogateescape") for word in words[2:]]
    record = record_now(words[0], words[1], arguments, options["--node"])
    if record.size <= CUT // 8:  # surely fits, with six bytes for each
        record.line = encode(record)
    deadline = max(0.1, min(300, options["--deadline"]))
    wait = max(0.0, min(3600, options["--wait"]))
    pause = PAUSE if wait <= 0 and _read("/proc/1/comm", 16) in REAPERS else 0.0
    child, pipe = _start(began + deadline, wait, _store, record, options, wrong, pause)
    byte = _wait_for_byte(pipe, began + 0.8 * deadline)
    if not byte:
        _wait_for_byte(_start(began + deadline, 0.0, _report_hang, record)[1], began + deadline)
    elif byte == b"." and pause:
        pass  # process 1 reaps the child, which pauses, looks for room, and ends
    elif _wait_for_byte(pipe, max(began + deadline, time.monotonic() + wait)) == b"":
        try:  # noqa: SIM105 - as above
            posix.waitpid(child, 0)
        except OSError:  # the daemon ignores SIGCHLD, and this process inherits that
            pass


def _detach():
    # type: () -> None
    """Close inherited descriptors: a child that hangs must not keep the daemon's pipes open."""
    posix.umask(0o022)
    try:
        null = posix.open("/dev/null", posix.O_RDWR)
        for fd in range(3):  # not closed: a file of the spool would then get the number of stderr
            posix.dup2(null, fd)
    except OSError:
        pass
    try:
        for fd in map(int, posix.listdir("/proc/self/fd")):  # also those past the limit of this process
            if fd > 2:
                posix.closerange(fd, fd + 1)  # unlike close, it ignores errors
    except OSError:
        posix.closerange(3, 65536)


def _accept_alarm():
    # type: () -> None
    """Let SIGALRM end this process, and any that it starts, whatever signals it inherited."""
    _signal.signal(14, _signal.SIG_DFL)  # SIGALRM
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [14])


def _start(until, wait, work, *arguments):
    # type: (float, float, Callable[..., None], Any) -> Tuple[int, int]
    """Call *work* with a pipe and *arguments* in a child; return its process id and our end of the pipe.

    The child lives until *until* (monotonic), and *wait* and LIFE longer, no more.  If no child can be started, *work*
    is called in this process, which the kernel ends at *until*.
    """
    ours = theirs = -1
    # Before the fork, because the child copies each page that it touches.
    _accept_alarm()
    left = max(0.1, until - time.monotonic())
    life = int(left + wait + LIFE)
    try:
        ours, theirs = posix.pipe()
        child = posix.fork()
    except OSError:  # no process or descriptor left: do the work in this process
        child, theirs = 0, -1
    if child:
        posix.close(theirs)
        return child, ours
    try:
        # Whatever this process waits for, the kernel ends it then.
        if theirs > 0:
            _signal.alarm(life)
            posix.close(ours)
            posix.setsid()  # the daemon may time out and kill its process group
        else:
            _signal.setitimer(_signal.ITIMER_REAL, left)
        work(theirs, *arguments)
    finally:
        posix._exit(0)  # noqa: SLF001 - os._exit


def _wait_for_byte(pipe, until):
    # type: (int, float) -> Optional[bytes]
    """Return the next byte from *pipe*, b"" at its end, or None if neither arrives before *until* (monotonic).

    A timer closes *pipe*, which ends the read: to import ``select`` would copy a hundred pages after the fork.  It goes
    off again and again, because the first time may be just before the read, which it would not interrupt then.
    """
    _signal.signal(14, lambda *_: posix.closerange(pipe, pipe + 1))
    _signal.setitimer(_signal.ITIMER_REAL, max(0.001, until - time.monotonic()), 0.05)
    try:
        return posix.read(pipe, 1)
    except OSError:
        return None
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)


def _store(pipe, record, options, wrong, pause):
    # type: (int, Record, Dict[str, Any], List[str], float) -> None
    """Store *record* or send it to syslog; report that on *pipe*; with ``--wait``, wait until it is confirmed.

    Sleeps *pause* seconds once it has reported a record that is stored.
    """
    spool = options["--spool"]
    path = ""
    why = ""
    if pipe < 0:  # the timer may end this process without a word
        _save_last("no process could be started; perhaps not stored", record, MOST_UNSAVED // 2)
    try:
        if record.size > CUT // 8 and len(_taken(record, CUT)) < len(record.arguments):
            try:
                _keep(spool, record, options["--max-bytes"])
            except OSError as error:
                wrong.append("arguments not kept: %a" % error)
        path = put(spool, record, options["--max-bytes"], options["--max-files"])
        if wrong:
            why = "stored, but: " + "; ".join(wrong)
    except Exception as error:  # noqa: BLE001 - no error may lose the event
        full_disk = getattr(error, "errno", None) in (28, 122)  # ENOSPC, EDQUOT
        reason = b"f" if isinstance(error, Full) else b"d" if full_disk else b"e"
        why = "not stored: " + ascii(error) + _count_lost(spool, reason)
    if pipe > 0:
        posix.write(pipe, b"!" if why else b".")  # before syslog, which may hang: the disk did not
        if pause and not why:
            time.sleep(pause)
    until = time.monotonic() + min(3600, options["--wait"]) if path else 0.0
    if why:
        _tell(record, why)
    if path:
        mark_if_full(spool, record.id, options["--max-bytes"], options["--max-files"])
    while time.monotonic() < until:
        try:
            posix.lstat(path)
        except FileNotFoundError:
            return
        time.sleep(0.01)


def _report_hang(_, record):
    # type: (int, Record) -> None
    why = "the disk hangs, or the storing process was killed; it may still be stored later"
    why = "not stored: " + why + _count_lost("", b"e")
    _tell(record, why)


if __name__ == "__main__":
    main(sys.argv[1:])
