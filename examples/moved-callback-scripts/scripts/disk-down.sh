#!/bin/sh
# As it was: $1 event, $2 file system, $3 disks.
echo "$1: $3 of $2" >> /var/log/clusterbus/disk-down.log
