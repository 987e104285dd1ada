#!/bin/bash
# start UNIT MOUNTS: starts a unit and prints how many microseconds passed until it was ready, everybody had their link, and
# there were so many mounts of the share. The agent has also to say that all is ready, as `dsvm-agent wait` would have it: a
# link may be there before its directory is.
# start homes: makes what the old script expects in homes.
# start clear: removes what any of the units made in this guest.
set -euo pipefail

mapfile -t people </usr/local/lib/bench/people

# Without a program: that would hold up what is measured.
there() {
    local user line text='' count=0
    for user in "${people[@]}"; do
        [[ -L /home/$user/notebooks/remote ]] || return 1
    done
    while read -r line; do
        [[ $line != *" cifs "* ]] || count=$((count + 1))
    done </proc/mounts
    ((count >= $2)) || return 1
    [[ $1 == dsvm-agent ]] || return 0
    read -r -d '' text </run/dsvm-agent/status/full.json || true
    [[ $text =~ \"health\":\ ?\"ready\" && $text =~ \"waiting\":\ ?0[^0-9] ]]
}

case $1 in
homes)
    for user in "${people[@]}"; do
        mkdir -p "/home/$user/notebooks"
    done
    ;;
clear)
    systemctl stop dsvm-agent
    systemctl stop autofs 2>/dev/null || true
    awk '$5 ~ "^/(datamnt|run/dsvm-agent|bench)/" { print $5 }' /proc/self/mountinfo | tac | while read -r at; do
        umount "$at"
    done
    rm -rf --one-file-system /datamnt /run/dsvm-agent /bench
    for user in "${people[@]}"; do
        rm -f "/home/$user/dsvmshare" "/home/$user/notebooks/remote"
        rm -rf --one-file-system "/home/$user/notebooks"
    done
    ;;
*)
    # Nothing ever comes of it: a pause without a program.
    exec {pause}<> <(:)
    before=${EPOCHREALTIME/./}
    systemctl start "$1"
    until there "$1" "$2"; do
        read -r -t 0.2 -u "$pause" || true
    done
    echo $((${EPOCHREALTIME/./} - before))
    ;;
esac
