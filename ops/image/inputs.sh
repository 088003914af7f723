#!/bin/sh
# Prints the hash of what the pipeline's image is built from: its Dockerfile and every file that the Dockerfile copies.
set -eu
cd "$(dirname "$0")/../.."
files="$(awk '$1 == "COPY" && $2 !~ /^--from/ { for (i = 2; i < NF; i++) print $i }' ops/image/Dockerfile | sort -u)"
# shellcheck disable=SC2086 # one word per file
sha256sum ops/image/Dockerfile $files | sha256sum | cut -c1-64
