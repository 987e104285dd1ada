#!/bin/bash
# mount-time TIMES TYPE SOURCE OPTIONS: how many milliseconds mount(8) takes, each time from unmounted.
set -euo pipefail

mkdir -p /bench/time
for ((n = 0; n < $1; n++)); do
    before=${EPOCHREALTIME/./}
    mount -t "$2" "$3" /bench/time -o "$4"
    after=${EPOCHREALTIME/./}
    umount /bench/time
    echo "$(((after - before) / 1000)).$(((after - before) % 1000 / 100))"
done
