#!/bin/sh
# After the files are there, of deb and rpm alike: the relay's user, and the folders that capture writes to.
# It never fails: a machine without systemd, or a user database that can't be written, gets a note and not a broken package.

case "$1" in configure | 1 | 2) ;; *) exit 0 ;; esac

root=${DPKG_ROOT:-}
note() { echo "clusterbus-node: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

if has systemd-sysusers; then
    systemd-sysusers ${root:+"--root=$root"} clusterbus.conf || note "the user clusterbus was not made"
elif [ -z "$root" ] && has useradd; then
    id clusterbus >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /var/spool/clusterbus --shell /usr/sbin/nologin \
            --comment "clusterbus relay" clusterbus || note "the user clusterbus was not made"
else
    note "nothing here makes users: make a user clusterbus with a group of its name, then /var/spool/clusterbus"
fi

if has systemd-tmpfiles; then
    systemd-tmpfiles ${root:+"--root=$root"} --create clusterbus.conf || note "not all folders could be made"
elif [ -z "$root" ] && id clusterbus >/dev/null 2>&1 && has install; then
    for folder in "" /tmp /new /bad /kept; do
        install -d -m 2770 -o root -g clusterbus "/var/spool/clusterbus$folder" || note "no /var/spool/clusterbus$folder"
    done
    install -d -m 0755 /run/clusterbus || note "no /run/clusterbus"
else
    note "nothing here makes folders: see /usr/lib/tmpfiles.d/clusterbus.conf for those that have to be there"
fi

if [ -z "$root" ] && [ -d /run/systemd/system ] && has systemctl; then
    systemctl daemon-reload || note "systemctl daemon-reload failed"
    # One that runs becomes the new one; one that does not is not begun: its settings are an example yet.
    systemctl try-restart clusterbus-relay.service || note "the relay was not restarted; see journalctl -u clusterbus-relay"
fi
exit 0
