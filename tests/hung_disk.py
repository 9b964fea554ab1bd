"""A folder whose disk hangs: a preloaded library holds `open`, `pread` and `fsync` there, while a file exists."""

import subprocess
from pathlib import Path

_LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void answer(const char *path) {
    const char *hung = getenv("HUNG_FOLDER"), *flag = getenv("HUNG_WHILE");
    while (path && hung && strncmp(path, hung, strlen(hung)) == 0 && access(flag, F_OK) == 0) usleep(20000);
}

static void answer_of(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    answer(path);
}

#define SYNC(name) \\
int name(int fd) { \\
    answer_of(fd); \\
    return ((int (*)(int)) dlsym(RTLD_NEXT, #name))(fd); \\
}
SYNC(fsync)
SYNC(fdatasync)

#define READ(name) \\
ssize_t name(int fd, void *to, size_t count, off_t from) { \\
    answer_of(fd); \\
    return ((ssize_t (*)(int, void *, size_t, off_t)) dlsym(RTLD_NEXT, #name))(fd, to, count, from); \\
}
READ(pread)
READ(pread64)

#define OPEN(name) \\
int name(const char *path, int flags, ...) { \\
    va_list more; va_start(more, flags); mode_t mode = flags & O_CREAT ? va_arg(more, int) : 0; va_end(more); \\
    if (!(flags & O_CREAT)) answer(path); \\
    return ((int (*)(const char *, int, ...)) dlsym(RTLD_NEXT, #name))(path, flags, mode); \\
}
OPEN(open)
OPEN(open64)
"""


def hanging(folder: Path, hung: Path, *, while_there: Path) -> dict[str, str]:
    """Return the environment of a program for which *hung* hangs while that file is there; build in *folder*."""
    source, library = folder / "hang.c", folder / "hang.so"
    source.write_text(_LIBRARY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=240)
    return {"LD_PRELOAD": str(library), "HUNG_FOLDER": str(hung), "HUNG_WHILE": str(while_there)}
