#!/bin/sh
# What the agent's mounts would be by mount.cifs: one for itself, one for each of three users, with their rights.
set -eu

share=$(cat /usr/local/lib/bench/share)
options=vers=3.1.1,seal,credentials=/etc/dsvm-agent/share.key,mfsymlinks,nobrl,actimeo=30,file_mode=0600,dir_mode=0700
mkdir -p /bench/root
mount -t cifs "$share" /bench/root -o "$options"
for user in alice bob carol; do
    mkdir -p "/bench/root/notebooks/$user" "/bench/users/$user" "/home/$user/notebooks"
    mount -t cifs "$share/notebooks/$user" "/bench/users/$user" -o "$options,uid=$(id -u $user),gid=$(id -g $user)"
    ln -s "/bench/users/$user" "/home/$user/notebooks/remote"
done
