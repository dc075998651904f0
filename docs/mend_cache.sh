#!/usr/bin/env bash
# After a disk lost bytes, in the repository's root: delete from DVC's cache every object that is not what its name says, and have
# DVC look at all outputs anew. It trusts objects that are write-protected, and hands out wrong bytes as they are. Then: dvc repro
set -euo pipefail
[ -f dvc.lock ]
find .dvc/cache/files/md5 -type f | while read -r object; do
  name="$(basename "$(dirname "$object")")$(basename "$object" .dir)"
  [ "$(md5sum < "$object" | cut -c 1-32)" = "$name" ] || rm -fv "$object"
done
for folder in data models; do [ ! -d "$folder" ] || find "$folder" -type f -exec touch {} +; done
