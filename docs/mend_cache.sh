#!/usr/bin/env bash
# Run in the repository's root after a disk corrupted files. Deletes from DVC's cache every object that no longer matches its
# name, and makes DVC check all outputs again: it trusts write-protected objects as they are. Then run: dvc repro
set -euo pipefail
[ -f dvc.lock ]
find .dvc/cache/files/md5 -type f | while read -r object; do
  name="$(basename "$(dirname "$object")")$(basename "$object" .dir)"
  [ "$(md5sum < "$object" | cut -c 1-32)" = "$name" ] || rm -fv "$object"
done
for folder in data models; do [ ! -d "$folder" ] || find "$folder" -type f -exec touch {} +; done
