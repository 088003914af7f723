# shellcheck shell=sh
# What every job does first; sourced, so that the variables stay.
set -eu

# The image carries the tools of requirements.lock; a laptop says where its own are.
if [ ! -e .venv ]; then
  ln -s "${PMP_TOOLS:-/opt/pmp}" .venv
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
