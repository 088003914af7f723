# shellcheck shell=sh
# The set-up that every job begins with; sourced, so that its variables stay set.
set -eu

# The image says what it was built from. Another image would test and deploy with other tools than this commit names.
if [ -n "${PMP_BUILT_FROM:-}" ]; then
  inputs="$(sh ops/image/inputs.sh)"
  if [ "$PMP_BUILT_FROM" != "$inputs" ]; then
    echo "error: this job's image was built from other files than this commit's:" >&2
    echo "  image $PMP_BUILT_FROM, commit $inputs" >&2
    echo "  Rebase on the main branch. If this commit changes the image, record the digest that ci-image printed:" >&2
    echo "  make image-lock DIGEST=sha256:..." >&2
    exit 1
  fi
  # The image also brings folders of the checkout. Each says what it was made from, and is made again if that changes.
  for folder in .checkov build/bin build/judges local/executor/node_modules checks/axe/node_modules; do
    if [ ! -e "$folder" ]; then
      mkdir -p "$(dirname "$folder")"
      ln -s "/opt/pmp-tree/$folder" "$folder"
    fi
  done
fi

# The image has the tools of requirements.lock; a laptop names its own in PMP_TOOLS. The migration runner is a plain
# shell inside the network: it installs the few packages that `python -m ops` needs, once per lock file.
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

# Without an access key, the job assumes a role with GitLab's id token: the AWS tools read these variables themselves.
if [ -n "${PMP_ROLE_ARN:-}" ] && [ -n "${PMP_ID_TOKEN:-}" ]; then
  AWS_WEB_IDENTITY_TOKEN_FILE="$(mktemp)"
  chmod 600 "$AWS_WEB_IDENTITY_TOKEN_FILE"
  printf '%s' "$PMP_ID_TOKEN" > "$AWS_WEB_IDENTITY_TOKEN_FILE"
  export AWS_WEB_IDENTITY_TOKEN_FILE
  export AWS_ROLE_ARN="$PMP_ROLE_ARN"
  export AWS_ROLE_SESSION_NAME="gitlab-${CI_JOB_ID:-job}"
fi
