#!/bin/sh
# Runs after the files of the deb or rpm are installed: creates the relay's user and the folders of the spool.
# Never fails: without systemd, or with a read-only user database, it prints a note instead of breaking the package.

case "$1" in configure | 1 | 2) ;; *) exit 0 ;; esac

root=${DPKG_ROOT:-}
note() { echo "clusterbus-node: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

if has systemd-sysusers; then
    systemd-sysusers ${root:+"--root=$root"} clusterbus.conf || note "could not create the user clusterbus"
elif [ -z "$root" ] && has useradd; then
    id clusterbus >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /var/spool/clusterbus --shell /usr/sbin/nologin \
            --comment "clusterbus relay" clusterbus || note "could not create the user clusterbus"
else
    note "this system has no tool to create users: create a user and a group clusterbus, then /var/spool/clusterbus"
fi

if has systemd-tmpfiles; then
    systemd-tmpfiles ${root:+"--root=$root"} --create clusterbus.conf || note "could not create all folders"
elif [ -z "$root" ] && id clusterbus >/dev/null 2>&1 && has install; then
    spool=/var/spool/clusterbus
    [ -d "$spool" ] || install -d -m 2770 -o root -g clusterbus "$spool" || note "could not create $spool"
    # The group may write to the spool, so nothing that is in it is changed by its name, which may be a link by now.
    # What is new has the right group and mode from the spool and the umask.
    for folder in tmp new bad kept; do
        if [ -L "$spool/$folder" ]; then
            note "$spool/$folder is a symbolic link: remove it, and install this package again"
        elif [ ! -d "$spool/$folder" ]; then
            (umask 0007 && mkdir "$spool/$folder") || note "could not create $spool/$folder"
        fi
    done
    install -d -m 0755 /run/clusterbus || note "could not create /run/clusterbus"
else
    note "this system has no tool to create the folders: create those in /usr/lib/tmpfiles.d/clusterbus.conf"
fi

if [ -z "$root" ] && [ -d /run/systemd/system ] && has systemctl; then
    systemctl daemon-reload || note "systemctl daemon-reload failed"
    # Restarts a relay that runs, but starts none: on a new node the settings are still an example.
    systemctl try-restart clusterbus-relay.service || note "could not restart the relay; see journalctl -u clusterbus-relay"
fi
exit 0
