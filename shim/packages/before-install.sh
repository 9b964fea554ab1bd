#!/bin/sh
# Before the files come, of deb and rpm alike.  A shim that `clusterbus nodes deploy` put here has this node's name and
# interpreter in its files: putting the package's over them would leave one that nobody configured.

case "$1" in abort-*) exit 0 ;; esac

[ -e "${DPKG_ROOT:-}/usr/lib/clusterbus/installed.json" ] || exit 0
echo "clusterbus-node: clusterbus nodes deploy has put the shim here; first clusterbus nodes remove, or leave the package out" >&2
exit 1
