#!/bin/sh
# Runs before the files of the deb or rpm are removed.

case "$1" in remove | 0) ;; *) exit 0 ;; esac

if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl disable --now clusterbus-router.service clusterbus-consume.service || :
    # Otherwise a failed unit stays in `systemctl --failed` after its removal.
    systemctl reset-failed clusterbus-router.service clusterbus-consume.service 2>/dev/null || :
fi
# What no package owns: the link to the interpreter, and what it compiled.
environment=${DPKG_ROOT:-}/usr/lib/clusterbus/environment
rm -f "$environment/bin/python3"
find "$environment/lib/python3" -depth -name __pycache__ -exec rm -rf {} + || :
exit 0
