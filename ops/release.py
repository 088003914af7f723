"""Cut a release (changelog, provider locks, tag of the Sqitch plan, commit, git tag), and publish it on GitLab."""

import datetime as dt
import json
import os
import re
import subprocess
from pathlib import Path

from ops import artifacts, files, http, images, provider_locks, providers, released
from ops.errors import UserError
from ops.git import git
from ops.output import say
from ops.settings import ROOT, build_directory

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_UNRELEASED = "## Unreleased\n"


def cut(repository: Path, version: str, today: dt.date) -> str:
    """Commit the release ``version`` (1.2.3) and tag it v1.2.3; nothing is pushed. Returns the tag.

    A failure leaves the checkout as it was.

    Raises:
        UserError: the version is not the next one, the checkout has changes or nothing to release, or a tool failed.
    """
    tag = f"v{version}"
    _require_next(repository, version)
    if changed := git(repository, "status", "--porcelain").strip():
        raise UserError(f"the checkout has changes, for example {changed.split()[-1]}: commit or discard them first")
    changelog = repository / "CHANGELOG.md"
    text = _with_release(changelog.read_text(encoding="utf-8"), version, today)
    before = git(repository, "rev-parse", "HEAD").strip()
    try:
        files.replace(changelog, text)
        _tag_plan(repository / "db", tag)
        _lock_providers(repository)
        git(repository, "commit", "--quiet", "--all", "--message", f"Release {version}")
        git(repository, "tag", "--annotate", "--message", f"Release {version}", tag)
    except BaseException:
        # Nothing is lost: the checkout had no changes.
        git(repository, "reset", "--quiet", "--hard", before)
        raise
    say(f"release: {tag} is committed and tagged; look at it with 'git show', then push both:")
    say(f"  git push origin HEAD {tag}")
    return tag


def _require_next(repository: Path, version: str) -> None:
    if not _VERSION.fullmatch(version):
        raise UserError(f"{version!r} is not a version: give three numbers, such as 1.2.3 (https://semver.org)")
    newest = released.newest_release(repository)
    if newest and _numbers(version) <= _numbers(newest.removeprefix("v")):
        raise UserError(f"{version} does not follow {newest}, the newest release: give a higher version")
    if git(repository, "tag", "--list", f"v{version}"):
        raise UserError(
            f"v{version} is the tag of a commit that is not in this history: release from the branch that holds it, or "
            "give another version"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _with_release(changelog: str, version: str, today: dt.date) -> str:
    """Return the changelog with everything unreleased under the version's heading.

    https://keepachangelog.com/en/1.1.0/
    """
    before, heading, after = changelog.partition(_UNRELEASED)
    if not heading:
        raise UserError("CHANGELOG.md has no heading '## Unreleased': add it above the newest version")
    entries = after.partition("\n## ")[0]
    if not re.search(r"^- ", entries, re.MULTILINE):
        raise UserError("CHANGELOG.md lists nothing under '## Unreleased': there is nothing to release")
    return f"{before}{_UNRELEASED}\n## {version} - {today.isoformat()}\n{after}"


def _tag_plan(database: Path, tag: str) -> None:
    """Add the tag to the Sqitch plan (https://sqitch.org/docs/manual/sqitch-tag/)."""
    done = subprocess.run(
        ["sqitch", "tag", tag, "--note", f"Release {tag.removeprefix('v')}"],
        cwd=database,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"sqitch tag {tag}: {(done.stderr or done.stdout).strip()}")


def _lock_providers(repository: Path) -> None:
    if providers.registry_answers():
        provider_locks.record(repository)
    else:
        say(f"release: {providers.REGISTRY_HOST} does not answer: the providers' lock files stay as they are")


def publish(tag: str) -> None:
    """Create the GitLab release of ``tag``, with the built zip and the bills of materials as generic packages.

    One bill is of the zip, the other of the image in which this job runs.

    Runs in the job of a tag's pipeline and uses that job's token
    (https://docs.gitlab.com/ci/jobs/ci_job_token/, https://docs.gitlab.com/api/releases/). When the job is retried,
    GitLab answers 409 for the release that exists already, and that counts as published.

    Raises:
        UserError: the changelog does not have the version, nothing was built, or GitLab refused.
    """
    version = tag.removeprefix("v")
    notes = release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    digest = artifacts.built_digest()
    project = f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}"
    links = []
    image = images.recorded_hexadecimal(ROOT)
    for name in (f"lambda-{digest}.zip", f"lambda-{digest}.cdx.json", f"image-{image}.cdx.json"):
        path = build_directory() / name
        if not path.exists():
            raise UserError(f"{name} is missing: run 'python -m ops' with package, sbom and image-sbom first")
        url = f"{project}/packages/generic/pmp/{version}/{name}"
        _send("PUT", url, path.read_bytes(), accepted=(200, 201))
        links.append({"name": name, "url": url, "link_type": "package"})
    document = {"tag_name": tag, "name": tag, "description": notes, "assets": {"links": links}}
    status = _send("POST", f"{project}/releases", json.dumps(document).encode(), accepted=(201, 409))
    say(f"release: {tag} {'is published' if status == 201 else 'was published before'}")


def release_notes(changelog: str, version: str) -> str:
    """Return the changelog's text under the heading of ``version``.

    Raises:
        UserError: the changelog has no such heading.
    """
    found = re.search(rf"^## {re.escape(version)} - [0-9-]+\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found:
        raise UserError(f"CHANGELOG.md has no version {version}: 'make release VERSION={version}' adds it")
    return found[1].strip()


def _send(method: str, url: str, body: bytes, *, accepted: tuple[int, ...]) -> int:
    headers = {"JOB-TOKEN": os.environ.get("CI_JOB_TOKEN", ""), "Content-Type": "application/json"}
    answer = http.request(method, url, headers=headers, body=body)
    if answer.status not in accepted:
        said = answer.body.decode(errors="replace")[:200]
        raise UserError(f"GitLab refused {method} {url}: {answer.status} {said}")
    return answer.status
