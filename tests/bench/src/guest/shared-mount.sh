#!/bin/sh
# The steps of the script that the agent replaces, as an administrator would write them for many users: one mount that is
# open to all, and links. The options are what this server takes instead of vers=3.0. The directories were never made by
# it; without them there is nothing to link to.
set -eu

mkdir -p /bench/dsvmshare
mount -t cifs "$(cat /usr/local/lib/bench/share)" /bench/dsvmshare \
    -o vers=3.1.1,seal,credentials=/etc/dsvm-agent/share.key,dir_mode=0777,file_mode=0777
while read -r user; do
    mkdir -p "/bench/dsvmshare/notebooks/$user" "/home/$user/notebooks"
    ln -s /bench/dsvmshare "/home/$user/dsvmshare"
    ln -s "/bench/dsvmshare/notebooks/$user" "/home/$user/notebooks/remote"
done </usr/local/lib/bench/people
