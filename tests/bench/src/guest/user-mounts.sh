#!/bin/sh
# What the agent's mounts would be by mount.cifs: one for itself, one for each user, with their rights.
set -eu

share=$(cat /usr/local/lib/bench/share)
options=$(cat /usr/local/lib/bench/options)
mkdir -p /bench/root
mount -t cifs "$share" /bench/root -o "$options"
while read -r user; do
    mkdir -p "/bench/root/notebooks/$user" "/bench/users/$user" "/home/$user/notebooks"
    mount -t cifs "$share/notebooks/$user" "/bench/users/$user" -o "$options,uid=$(id -u "$user"),gid=$(id -g "$user")"
    ln -s "/bench/users/$user" "/home/$user/notebooks/remote"
done </usr/local/lib/bench/people
