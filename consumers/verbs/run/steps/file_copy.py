"""Copy a file to a node: written aside, its checksum compared, then renamed.

The node needs a POSIX shell and the tools of GNU.  It runs a fixed script, which gets path, mode and owner as words and
the content on its standard input.  Until the rename, the old file stays as it is, whatever interrupts the copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ....errors import Rejected
from .. import command_checks

_SCRIPT = """\
target=$1 mode=$2 owner=$3 sum=$4
folder=${target%/*}/ name=${target##*/}
umask 077
find "$folder" -maxdepth 1 -type f -name ".$name.clusterbus-??????????" -mmin +1440 -exec rm -f -- {} + 2>/dev/null
aside=$(mktemp -- "$folder.$name.clusterbus-XXXXXXXXXX") || exit 73
trap 'rm -f -- "$aside"' EXIT
trap 'exit 143' HUP INT TERM PIPE
cat > "$aside" || exit 74
is=$(sha256sum < "$aside") || exit 74
if [ "${is%% *}" != "$sum" ]; then
    echo "the copy of $target is not complete: its checksum differs" >&2
    exit 74
fi
if [ -n "$owner" ]; then chown -- "$owner" "$aside" || exit 77; fi
chmod -- "$mode" "$aside" || exit 77
sync -- "$aside" || exit 74
mv -f -T -- "$aside" "$target" || exit 73
sync -- "$folder" || exit 74
"""


def command(source: str, target: str, mode: str, owner: str) -> tuple[Sequence[str], bytes]:
    """Return the words that a node runs to receive the file *source*, and what they read.  Raises Rejected."""
    if problem := command_checks.source_problem(Path(source)):
        raise Rejected(problem)
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        raise Rejected(f"{source} cannot be copied: {error.strerror}") from error
    checksum = hashlib.sha256(content).hexdigest()
    return ["sh", "-c", _SCRIPT, "clusterbus-copy", target, mode, owner, checksum], content
