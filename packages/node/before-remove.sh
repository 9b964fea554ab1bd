#!/bin/sh
# Runs before the files of the deb or rpm are removed.  The spool stays, because no other place has its records; the
# user stays as well.

case "$1" in remove | 0) ;; *) exit 0 ;; esac

echo "clusterbus-node: callbacks that run /usr/libexec/clusterbus/capture-gpfs fail from now on: run clusterbus callbacks remove" >&2
# No package owns the bytecode that Python compiled.
rm -rf "${DPKG_ROOT:-}/usr/libexec/clusterbus/__pycache__"
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl disable --now clusterbus-relay.service || :
    # Otherwise a failed unit stays in `systemctl --failed` after its removal.
    systemctl reset-failed clusterbus-relay.service 2>/dev/null || :
fi
exit 0
