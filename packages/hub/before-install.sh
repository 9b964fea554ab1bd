#!/bin/sh
# Runs before the files of the deb or rpm are installed.  Stops router and consumer, so that none of them imports files
# of two releases; after-install.sh starts those that ran.

case "$1" in abort-*) exit 0 ;; esac
[ -z "${DPKG_ROOT:-}" ] || exit 0

ran=/run/clusterbus-ran
start_again() {
    for unit in "$ran"/*; do
        [ ! -e "$unit" ] || systemctl start --no-block "${unit##*/}"
    done
    rm -rf "$ran"
}

if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    for unit in clusterbus-router.service clusterbus-consume.service; do
        systemctl --quiet is-active "$unit" || continue
        mkdir -p "$ran" && : >"$ran/$unit"
        systemctl stop "$unit" || { start_again; exit 1; }
    done
fi

# Jobs of releases whose consumer ran as the user clusterbus: their folder gets another owner and another place.
if [ ! -e /var/lib/clusterbus/consumer/jobs ] && [ ! -f /etc/systemd/system/clusterbus-consume.service ]; then
    for lock in /var/lib/clusterbus/jobs/*/lock; do
        if [ -f "$lock" ] && [ ! -L "$lock" ] && ! flock --nonblock "$lock" true; then
            job=${lock%/lock}
            echo "clusterbus: the detached command ${job##*/} is running, and its result would be lost: wait until it has ended, or run clusterbus jobs cancel ${job##*/}; then install this package again" >&2
            start_again
            exit 1
        fi
    done
fi
exit 0
