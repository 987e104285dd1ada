#!/bin/bash
# old-script USER: the script that the agent replaces, step by step (mountazurefiles.sh of Azure/DataScienceVM). The options
# are what this server takes instead of vers=3.0, and the key is in a file. It checks nothing: that the share is mounted
# already is an error to its mount, and it goes on.
# old-script: the same for everybody, one after the other, since it takes one user.
set -u

if [[ $# == 0 ]]; then
    while read -r user; do
        bash "$0" "$user" </dev/null
    done </usr/local/lib/bench/people
    exit
fi
at=/bench/dsvmshare
mkdir -p "$at"
mount -t cifs "$(cat /usr/local/lib/bench/share)" "$at" \
    -o vers=3.1.1,seal,credentials=/etc/dsvm-agent/share.key,dir_mode=0777,file_mode=0777
# As it stands there.
# shellcheck disable=SC2001
linkpoint=$(echo "$at" | sed 's/.*\///')
ln -s "$at" "/home/$1/$linkpoint"
ln -s "$at/notebooks/$1" "/home/$1/notebooks/remote"
