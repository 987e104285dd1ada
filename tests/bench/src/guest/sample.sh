#!/bin/bash
# sample UNIT: what a service holds now and has used up so far. Its processes are the main one and those that this one
# started and that are still there; short-lived ones are in the CPU time only.
set -euo pipefail

main=$(systemctl show --property=MainPID --value "$1")
group=$(systemctl show --property=ControlGroup --value "$1")
processes=("$main")
while read -r child; do
    processes+=("$child")
done < <(pgrep --parent "$main" || true)
rollups=("${processes[@]/%//smaps_rollup}")
tasks=()
for process in "${processes[@]}"; do
    tasks+=("/proc/$process/task"/*/status)
done
awk '$1 == "Pss:" { pss += $2 } $1 == "Rss:" { rss += $2 } END { print "pss_kib " pss; print "rss_kib " rss }' \
    "${rollups[@]/#//proc/}"
awk '$1 == "voluntary_ctxt_switches:" { n += $2 } END { print "switches " n }' "${tasks[@]}"
awk '$1 == "usage_usec" { print "cpu_s " $2 / 1e6 }' "/sys/fs/cgroup$group/cpu.stat"
read -r uptime _ </proc/uptime
echo "uptime $uptime"
