#!/bin/sh
# As it was: $1 event, $2 file system, $3 fileset, $4 usage in KiB.
echo "$1: $2/$3 uses $4 KiB" >> /var/log/clusterbus/quota-warn.log
