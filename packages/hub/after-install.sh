#!/bin/sh
# Runs after the files of the deb or rpm are installed: links the interpreter, creates users and folders, moves the
# state of earlier releases, and starts what ran before.  Enables nothing.
# Never fails: it prints a note instead of breaking the package.

root=${DPKG_ROOT:-}
note() { echo "clusterbus: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

user() {
    id "$1" >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir "$3" --shell /usr/sbin/nologin --comment "$2" "$1" ||
        note "could not create the user $1"
}

# Creates the folder $1 of mode $2 and the user $3 if it is missing; a link in its place is not followed.
folder() {
    if [ -L "$1" ] || { [ -e "$1" ] && [ ! -d "$1" ]; }; then
        note "$1 is not a folder: remove it, and install this package again"
    elif [ ! -d "$1" ]; then
        mkdir -m "$2" "$1" && chown "$3:$3" "$1" || note "could not create $1"
    fi
}

"$root/usr/lib/clusterbus/link-python" "$root" || note "the Python of $root/usr/lib/clusterbus/environment is incomplete"

if has systemd-sysusers; then
    systemd-sysusers ${root:+"--root=$root"} clusterbus-router.conf clusterbus-consume.conf ||
        note "could not create the users clusterbus-router and clusterbus-consumer"
elif [ -z "$root" ] && has useradd; then
    user clusterbus-router "clusterbus router" /var/lib/clusterbus/router
    user clusterbus-consumer "clusterbus consumer" /var/lib/clusterbus/consumer
else
    note "this system has no tool to create users: create clusterbus-router and clusterbus-consumer, each with its group"
fi

if has systemd-tmpfiles; then
    systemd-tmpfiles ${root:+"--root=$root"} --create clusterbus-hub.conf || note "could not create all folders"
elif [ -z "$root" ] && id clusterbus-router clusterbus-consumer >/dev/null 2>&1; then
    # The first was the relay's user's in earlier releases: once it is root's, nobody changes what is in it.
    folder /var/lib/clusterbus 0755 root && chown -h root:root /var/lib/clusterbus && chmod 0755 /var/lib/clusterbus
    folder /var/lib/clusterbus/router 0750 clusterbus-router
    folder /var/lib/clusterbus/consumer 0750 clusterbus-consumer
    folder /var/log/clusterbus 0750 clusterbus-consumer
else
    note "this system has no tool to create the folders: create those in /usr/lib/tmpfiles.d/clusterbus-hub.conf"
fi

[ -z "$root" ] || exit 0
[ ! -d /var/lib/clusterbus ] || /usr/lib/clusterbus/move-state || note "some state of an earlier release stays where it was"

if [ -d /run/systemd/system ] && has systemctl; then
    systemctl daemon-reload || note "systemctl daemon-reload failed"
    for unit in clusterbus-router.service clusterbus-consume.service; do
        [ -e "/run/clusterbus-ran/$unit" ] || continue
        # Upgrading the tables of a large store may take longer than anybody waits for a package.
        timeout 120 systemctl start "$unit" || note "$unit has not started again yet; see systemctl status $unit"
    done
    rm -rf /run/clusterbus-ran
    # The system has another Python, perhaps with the one that they run on removed.
    [ "$1" != triggered ] || systemctl try-restart clusterbus-router.service clusterbus-consume.service ||
        note "could not restart all units; see systemctl status"
fi
exit 0
