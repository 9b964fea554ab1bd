#!/bin/sh
# Runs after the files of the deb or rpm are removed.  Settings, secrets and state stay: no other place has them.

case "$1" in remove | purge | 0) ;; *) exit 0 ;; esac
[ -z "${DPKG_ROOT:-}" ] || exit 0

left=
for folder in /var/lib/clusterbus/router /var/lib/clusterbus/consumer /var/lib/clusterbus /var/log/clusterbus; do
    if [ -d "$folder" ] && [ ! -L "$folder" ]; then
        rmdir "$folder" 2>/dev/null || left="$left $folder"
    fi
done
[ ! -d /etc/clusterbus ] || left="$left /etc/clusterbus"
for user in clusterbus-router clusterbus-consumer; do
    ! id "$user" >/dev/null 2>&1 || left="$left user:$user"
done
[ -z "$left" ] || echo "clusterbus: settings, secrets, state and users stay; remove what you no longer need:$left" >&2
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    systemctl daemon-reload || :
fi
exit 0
