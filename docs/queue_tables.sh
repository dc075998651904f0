#!/usr/bin/env bash
# Queue the runs of docs/results.md with its commands, by the beginnings of its headings:
# bash docs/queue_tables.sh 1 3 4 5 default Controls Refiners Baselines Step-2
set -euo pipefail
cd "$(dirname "$0")/.."
for table in "${@:?which tables: 1, 3, 4, 5, or headings of docs/results.md}"; do
  lines=$(awk -v title="^## (Table |The )?$table" '/^## /{here = $0 ~ title} /^```/{code = /^```bash/; next} here && code' docs/results.md |
    grep -v -e "queue start" -e "tris ")
  bash -euc "$lines"
done
