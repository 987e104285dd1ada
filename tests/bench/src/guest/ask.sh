#!/bin/bash
# ask TIMES COMMAND...: runs the commands in turn, so often each, and prints their numbers with the microseconds taken.
set -euo pipefail

times=$1
shift
for ((round = 0; round < times; round++)); do
    number=0
    for command in "$@"; do
        before=${EPOCHREALTIME/./}
        # How a command ends is not the question here.
        eval "$command" >/dev/null 2>&1 || true
        echo "$number $((${EPOCHREALTIME/./} - before))"
        number=$((number + 1))
    done
done
