#!/bin/bash
# sample UNIT...: what services hold now and have used up so far, and what all of the machine has. The processes of a service
# are its main one and those that this one started and that are still there; short-lived ones are in the CPU time only.
set -euo pipefail

# What stands in these is awk's, not the shell's.
# shellcheck disable=SC2016
switches='$1 == "voluntary_ctxt_switches:" { n += $2 } END { print whose " switches " n }'
# shellcheck disable=SC2016
cpu='$1 == "usage_usec" { print whose " cpu_s " $2 / 1e6 }'
for unit in "$@"; do
    main=$(systemctl show --property=MainPID --value "$unit")
    group=$(systemctl show --property=ControlGroup --value "$unit")
    rollups=()
    tasks=()
    for process in "$main" $(pgrep --parent "$main" || true); do
        rollups+=("/proc/$process/smaps_rollup")
        tasks+=("/proc/$process/task"/*/status)
    done
    # Short-lived ones end while they are looked at.
    { cat "${rollups[@]}" 2>/dev/null || true; } | awk -v whose="$unit" '
        $1 == "Pss:" { pss += $2 } $1 == "Rss:" { rss += $2 } $1 ~ "^Private_(Clean|Dirty):" { uss += $2 }
        END { print whose " pss_kib " pss; print whose " rss_kib " rss; print whose " uss_kib " uss }'
    { cat "${tasks[@]}" 2>/dev/null || true; } | awk -v whose="$unit" "$switches"
    awk -v whose="$unit" "$cpu" "/sys/fs/cgroup$group/cpu.stat"
done
# Processes end while they are looked at.
{ cat /proc/[0-9]*/task/*/status 2>/dev/null || true; } | awk -v whose=all "$switches"
awk -v whose=all "$cpu" /sys/fs/cgroup/cpu.stat
read -r uptime _ </proc/uptime
echo "all uptime $uptime"
