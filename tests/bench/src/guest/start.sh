#!/bin/bash
# start UNIT: starts a unit and prints how many microseconds passed until it was ready.
# start clear: removes what any of the units made in this guest.
set -euo pipefail

if [[ $1 != clear ]]; then
    before=${EPOCHREALTIME/./}
    systemctl start "$1"
    echo $((${EPOCHREALTIME/./} - before))
    exit
fi

systemctl stop dsvm-agent
awk '$5 ~ "^/(datamnt|run/dsvm-agent|bench)/" { print $5 }' /proc/self/mountinfo | tac | while read -r at; do
    umount "$at"
done
rm -rf --one-file-system /datamnt /run/dsvm-agent /bench
for user in alice bob carol; do
    rm -f "/home/$user/dsvmshare" "/home/$user/notebooks/remote"
    rm -rf --one-file-system "/home/$user/notebooks"
done
