# shellcheck shell=sh
# What every job does first; sourced, so that the variables stay.
set -eu

# The image carries the tools of requirements.lock, and a laptop says where its own are. The migration runner is a bare
# shell inside the network: it installs the few that `python -m ops` needs, once per lock file.
tools="${PMP_TOOLS:-/opt/pmp}"
if [ ! -d "$tools/bin" ]; then
  tools="$HOME/.cache/pmp/$(sha256sum ops/requirements.lock | cut -c1-16)"
  if [ ! -e "$tools/complete" ]; then
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement ops/requirements.lock
    touch "$tools/complete"
  fi
fi
if [ ! -e .venv ]; then
  ln -s "$tools" .venv
fi
export PATH="$PWD/.venv/bin:$PATH"

# Without an access key the job is a role, which GitLab's id token opens: the AWS tools read both variables themselves.
if [ -n "${PMP_ROLE_ARN:-}" ] && [ -n "${PMP_ID_TOKEN:-}" ]; then
  AWS_WEB_IDENTITY_TOKEN_FILE="$(mktemp)"
  chmod 600 "$AWS_WEB_IDENTITY_TOKEN_FILE"
  printf '%s' "$PMP_ID_TOKEN" > "$AWS_WEB_IDENTITY_TOKEN_FILE"
  export AWS_WEB_IDENTITY_TOKEN_FILE
  export AWS_ROLE_ARN="$PMP_ROLE_ARN"
  export AWS_ROLE_SESSION_NAME="gitlab-${CI_JOB_ID:-job}"
fi
