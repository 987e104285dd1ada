#!/bin/bash
# members COUNT: makes so many people, who are in the list of those whom everything here is done for.
# members gone: removes them again.
set -euo pipefail

list=/usr/local/lib/bench/people
if [[ $1 == gone ]]; then
    while read -r user; do
        userdel --remove "$user" 2>/dev/null
    done <"$list"
    printf '%s\n' alice bob carol >"$list"
    exit
fi
for ((n = 1; n <= $1; n++)); do
    id "member$n" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "member$n"
    echo "member$n"
done >"$list"
