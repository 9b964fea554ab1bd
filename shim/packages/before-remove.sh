#!/bin/sh
# Before the files go, of deb and rpm alike.  The spool stays, since records in it are nowhere else; so does the user.

case "$1" in remove | 0) ;; *) exit 0 ;; esac

echo "clusterbus-node: callbacks that run /usr/libexec/clusterbus/capture-gpfs fail from now on; clusterbus callbacks remove" >&2
# What Python compiled beside capture is of no package.
rm -rf "${DPKG_ROOT:-}/usr/libexec/clusterbus/__pycache__"
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl disable --now clusterbus-relay.service || :
fi
exit 0
