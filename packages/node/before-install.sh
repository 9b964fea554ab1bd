#!/bin/sh
# Runs before the files of the deb or rpm are installed.  The files of `clusterbus nodes deploy` hold this node's name
# and interpreter; files of the package in their place would lose that configuration.

case "$1" in abort-*) exit 0 ;; esac

[ -e "${DPKG_ROOT:-}/usr/lib/clusterbus/installed.json" ] || exit 0
echo "clusterbus-node: clusterbus nodes deploy installed the shim on this node: run clusterbus nodes remove first, or do not install this package" >&2
exit 1
