#!/bin/bash
# Turn a fresh Debian 12 (arm64) into the GitLab runner of the migration jobs. cloud-init runs it once, as root; what
# fails ends it with a line in /var/log/cloud-init-output.log, and running it again by hand goes on where it can.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/pmp/runner.env
: "${PMP_RUNNER_NAME:?}" "${PMP_GITLAB_URL:?}" "${PMP_TOKEN_PARAMETER:?}" "${AWS_REGION:?}" "${PMP_SSM_AGENT_VERSION:?}"
export AWS_REGION AWS_DEFAULT_REGION="$AWS_REGION" DEBIAN_FRONTEND=noninteractive

# GitLab's key of package lists: https://docs.gitlab.com/omnibus/update/package_signatures/
readonly GITLAB_KEY=F6403F6544A38863DAA0B6E03F01618A51312F3F

fetch() { # URL FILE
  curl --fail --silent --show-error --location --proto '=https' --tlsv1.2 --retry 5 --retry-all-errors --output "$2" "$1"
}

verify() { # FILE SHA256 NAME; an empty SHA256 means that none is pinned
  if [ -z "$2" ]; then
    echo "pmp: warning: $3: no SHA-256 is pinned, so only the server's certificate is checked"
  elif ! echo "$2  $1" | sha256sum --check --quiet; then
    echo "error: $3 does not have the SHA-256 $2: find out why before you change foundation.runner.downloads" >&2
    exit 1
  fi
}

# Port 80 is closed to this machine.
find /etc/apt -type f \( -name '*.list' -o -name '*.sources' \) -exec sed -i 's|http://|https://|g' {} +

echo "pmp: Session Manager"
agents="https://s3.$AWS_REGION.amazonaws.com/amazon-ssm-$AWS_REGION/$PMP_SSM_AGENT_VERSION"
fetch "$agents/debian_arm64/amazon-ssm-agent.deb" /tmp/agent.deb
verify /tmp/agent.deb "${PMP_SSM_AGENT_SHA256:-}" "Session Manager's agent"
dpkg --install /tmp/agent.deb
systemctl enable --now amazon-ssm-agent

echo "pmp: tools of the migration job"
apt-get update --quiet
xargs --arg-file=/etc/pmp/packages apt-get install --quiet --yes --no-install-recommends

echo "pmp: certificates of RDS"
fetch "https://truststore.pki.rds.amazonaws.com/$AWS_REGION/$AWS_REGION-bundle.pem" /etc/pmp/rds-ca.pem.new
verify /etc/pmp/rds-ca.pem.new "${PMP_RDS_AUTHORITIES_SHA256:-}" "RDS's certificates"
openssl x509 -in /etc/pmp/rds-ca.pem.new -noout -subject
chmod 0644 /etc/pmp/rds-ca.pem.new
mv /etc/pmp/rds-ca.pem.new /etc/pmp/rds-ca.pem

echo "pmp: GitLab runner"
install --directory --mode 0755 /etc/apt/keyrings
fetch https://packages.gitlab.com/runner/gitlab-runner/gpgkey /tmp/gitlab.asc
gpg --batch --yes --dearmor --output /tmp/gitlab.gpg /tmp/gitlab.asc
if ! gpg --batch --with-colons --show-keys /tmp/gitlab.gpg | grep --quiet "^fpr:::::::::$GITLAB_KEY:"; then
  echo "error: the key of GitLab's packages is not $GITLAB_KEY: compare it with GitLab's documentation" >&2
  exit 1
fi
install --mode 0644 /tmp/gitlab.gpg /etc/apt/keyrings/gitlab-runner.gpg
echo "deb [arch=arm64 signed-by=/etc/apt/keyrings/gitlab-runner.gpg]" \
  "https://packages.gitlab.com/runner/gitlab-runner/debian bookworm main" >/etc/apt/sources.list.d/gitlab-runner.list
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends gitlab-runner
systemctl stop gitlab-runner

# Jobs must not become the instance: its role reads the runner's token.
cat >/etc/nftables.conf <<'RULES'
#!/usr/sbin/nft -f
flush ruleset
table inet pmp {
  chain output {
    type filter hook output priority filter; policy accept;
    meta skuid "gitlab-runner" ip daddr 169.254.169.254 reject
  }
}
RULES
systemctl enable nftables
systemctl restart nftables

# The token comes from Parameter Store and goes into the runner's own file, which root alone reads.
echo "pmp: waiting for $PMP_TOKEN_PARAMETER"
until token="$(aws ssm get-parameter --name "$PMP_TOKEN_PARAMETER" --with-decryption --query Parameter.Value --output text)"; do
  sleep 60
done
umask 077
cat >/etc/gitlab-runner/config.toml <<CONFIG
concurrent = 1
check_interval = 5
shutdown_timeout = 600

[[runners]]
  name = "$PMP_RUNNER_NAME"
  url = "$PMP_GITLAB_URL"
  token = "$token"
  executor = "shell"
  environment = ["PMP_DATABASE_CA_FILE=/etc/pmp/rds-ca.pem"]
CONFIG
unset token
gitlab-runner verify
systemctl enable --now gitlab-runner
echo "pmp: ready"
