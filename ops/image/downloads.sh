#!/bin/sh
# Downloads what neither Debian nor a package registry has, and unpacks it: `sh downloads.sh FOLDER LOCK_FILE…`.
#
# Terraform, Go and Node.js are checked by the SHA-256 that their makers publish. Providers are those of the lock files;
# `terraform init -lockfile=readonly` accepts only the hashes there.
set -eu

out="$1"
shift
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# $1: URL, $2: SHA-256. Leaves the file in $work/archive.
fetch() {
  curl --fail --silent --show-error --location --retry 3 --proto '=https' --output "$work/archive" "$1"
  if ! echo "$2  $work/archive" | sha256sum -c >/dev/null 2>&1; then
    echo "error: $1 does not have the SHA-256 $2: do not use it, and find out why it changed" >&2
    exit 1
  fi
}

mkdir -p "$out/usr/local/bin" "$out/usr/local/share/terraform/plugins"

# https://releases.hashicorp.com/terraform/1.11.4/terraform_1.11.4_SHA256SUMS
fetch https://releases.hashicorp.com/terraform/1.11.4/terraform_1.11.4_linux_amd64.zip \
  1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc
python3 -m zipfile --extract "$work/archive" "$work/terraform"
install -m 755 "$work/terraform/terraform" "$out/usr/local/bin/terraform"

# https://go.dev/dl/?mode=json&include=all
fetch https://go.dev/dl/go1.26.8.linux-amd64.tar.gz d0f743b33e8d8945e6b1f432edd15785c70507121d6e2a723b21285eddf8b57b
python3 -m tarfile --extract "$work/archive" "$out/usr/local"

# https://nodejs.org/dist/v20.20.2/SHASUMS256.txt
fetch https://nodejs.org/dist/v20.20.2/node-v20.20.2-linux-x64.tar.xz \
  df770b2a6f130ed8627c9782c988fda9669fa23898329a61a871e32f965e007d
python3 -m tarfile --extract "$work/archive" "$work/node"
cp -a "$work"/node/*/bin "$work"/node/*/lib "$out/usr/local/"

mirror="$out/usr/local/share/terraform/plugins"
export PATH="$out/usr/local/bin:$PATH"
for lock in "$@"; do
  providers="$(mktemp -d "$work/providers-XXXXXX")"
  cp "$lock" "$providers/.terraform.lock.hcl"
  awk '
    BEGIN { print "terraform {\n  required_providers {" }
    $1 == "provider" { split($2, part, "[/\"]"); name = part[4]; source = part[3] "/" part[4] }
    $1 == "version" { print "    " name " = { source = \"" source "\", version = " $3 " }" }
    END { print "  }\n}" }
  ' "$lock" > "$providers/providers.tf"
  terraform -chdir="$providers" providers mirror -platform=linux_amd64 "$mirror"
  terraform -chdir="$providers" init -lockfile=readonly -plugin-dir="$mirror"
done

# Terraform links an unpacked provider from a mirror, but unpacks a packed one for every folder that uses it.
find "$mirror" -name '*.zip' | while read -r archive; do
  # registry.terraform.io/hashicorp/aws/terraform-provider-aws_5.100.0_linux_amd64.zip
  folder="$(dirname "$archive")/$(basename "$archive" | cut -d_ -f2)/linux_amd64"
  python3 -m zipfile --extract "$archive" "$folder"
  chmod 755 "$folder"/terraform-provider-*
  rm "$archive"
done
