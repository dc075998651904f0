#!/usr/bin/env bash
# During a `git merge` that stops at dvc.lock or metrics/: settle them, in the repository's root.
# Resolve params.yaml by hand first. Takes our side's results, then lets `dvc repro` restore from the
# run-cache whatever either side has run; only what no side has run with the merged parameters runs.
set -euo pipefail
[ -f dvc.yaml ] || { echo "no dvc.yaml here: run this in the repository's root" >&2; exit 1; }
if grep -nE '^(<<<<<<<|>>>>>>>) ' params.yaml; then
  echo "params.yaml has marks of a conflict: resolve it first, and git add it" >&2
  exit 1
fi
conflicts=$(git diff --name-only --diff-filter=U) # read once: git checkout locks the index
if grep -vE '^(dvc\.lock|metrics/)' <<<"$conflicts" | grep .; then
  echo "resolve these files first, and git add them" >&2
  exit 1
fi
for file in $conflicts; do
  git checkout --quiet --ours -- "$file" 2>/dev/null || git rm --quiet --cached -- "$file"
done
dvc repro
git add dvc.lock metrics
