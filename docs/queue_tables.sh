#!/usr/bin/env bash
# Queue the runs of the paper's tables, with the commands of docs/results.md: bash docs/queue_tables.sh 1 3 4 5
set -euo pipefail
cd "$(dirname "$0")/.."
for table in "${@:?which tables: 1, 3, 4, 5}"; do
  lines=$(awk -v title="^## Table $table[: ]" '/^## /{here = $0 ~ title} /^```/{code = /^```bash/; next} here && code' docs/results.md |
    grep -v -e "queue start" -e "tris ")
  bash -euc "$lines"
done
