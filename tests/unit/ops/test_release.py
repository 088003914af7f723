"""Cutting a release, in a scratch repository with the real Sqitch, and publishing it, with a fake GitLab."""

import datetime as dt
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops import compatibility, providers, release, released
from ops.errors import UserError
from ops.git import git

CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- Something.\n"
PLAN = "%syntax-version=1.0.0\n%project=pmp\n\ncreate_a 2026-01-01T00:00:00Z PMP <pmp@example.com> # A\n"
TODAY = dt.date(2026, 12, 24)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(providers, "registry_answers", lambda: False)
    for name, value in (("name", "PMP"), ("email", "pmp@example.com")):
        monkeypatch.setenv(f"GIT_AUTHOR_{name.upper()}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name.upper()}", value)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(tmp_path)], check=True)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "db/deploy").mkdir(parents=True)
    (tmp_path / "db/sqitch.plan").write_text(PLAN)
    (tmp_path / "db/sqitch.conf").write_text(
        "[core]\n\tengine = pg\n\tplan_file = sqitch.plan\n[user]\n\tname = PMP\n\temail = pmp@example.com\n"
    )
    (tmp_path / "db/deploy/create_a.sql").write_text("CREATE TABLE a (b int);\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def add_entry(repository: Path) -> None:
    changelog = repository / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\n- More.\n", 1))
    git(repository, "commit", "--quiet", "--all", "--message", "Add more")


def test_a_release_is_one_commit_and_one_tag(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.cut(repository, "0.1.0", TODAY) == "v0.1.0"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "describe", "--exact-match").strip() == "v0.1.0"
    assert "\n## Unreleased\n\n## 0.1.0 - 2026-12-24\n\n### Added\n" in (repository / "CHANGELOG.md").read_text()
    assert "\n@v0.1.0 " in (repository / "db/sqitch.plan").read_text()
    # The tag of the plan and the tag of git agree, and nothing differs from the release.
    assert released.differences(repository) == []
    assert "git push origin HEAD v0.1.0" in "".join(capsys.readouterr())


def test_the_second_release_is_compared_with_the_first(repository: Path) -> None:
    release.cut(repository, "0.1.0", TODAY)
    assert compatibility.release_before(repository) is None
    add_entry(repository)
    assert compatibility.release_before(repository) == "v0.1.0"
    release.cut(repository, "0.2.0", TODAY)
    assert compatibility.release_before(repository) == "v0.1.0"
    add_entry(repository)
    assert compatibility.release_before(repository) == "v0.2.0"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v0.2.0", "'v0.2.0' is not a version: give three numbers"),
        ("0.2", "'0.2' is not a version"),
        ("0.02.0", "'0.02.0' is not a version"),
        ("0.1.0", "0.1.0 does not follow v0.1.0"),
        ("0.0.9", "0.0.9 does not follow v0.1.0"),
    ],
)
def test_a_version_that_does_not_follow_is_refused(repository: Path, version: str, message: str) -> None:
    release.cut(repository, "0.1.0", TODAY)
    add_entry(repository)
    before = git(repository, "rev-parse", "HEAD")
    with pytest.raises(UserError) as refusal:
        release.cut(repository, version, TODAY)
    assert str(refusal.value).startswith(message)
    assert git(repository, "rev-parse", "HEAD") == before


def test_nothing_to_release_is_refused(repository: Path) -> None:
    release.cut(repository, "0.1.0", TODAY)
    with pytest.raises(UserError, match="lists nothing under '## Unreleased'"):
        release.cut(repository, "0.2.0", TODAY)


def test_a_changed_checkout_is_refused(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    with pytest.raises(UserError, match=r"the checkout has changes, for example new\.txt"):
        release.cut(repository, "0.1.0", TODAY)


def test_a_failure_leaves_the_checkout_as_it_was(repository: Path) -> None:
    (repository / "db/sqitch.plan").write_text("not a plan\n")
    git(repository, "commit", "--quiet", "--all", "--message", "Break the plan")
    with pytest.raises(UserError, match=r"sqitch tag v0\.1\.0"):
        release.cut(repository, "0.1.0", TODAY)
    assert git(repository, "status", "--porcelain") == ""
    assert (repository / "CHANGELOG.md").read_text() == CHANGELOG
    assert git(repository, "tag") == ""


def test_a_tag_of_another_branch_is_refused_and_nothing_is_committed(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "elsewhere")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Elsewhere")
    git(repository, "tag", "v0.1.0")
    git(repository, "checkout", "--quiet", "main")
    before = git(repository, "rev-parse", "HEAD")
    with pytest.raises(UserError, match=r"v0\.1\.0 is the tag of a commit that is not in this history"):
        release.cut(repository, "0.1.0", TODAY)
    assert git(repository, "rev-parse", "HEAD") == before


def test_a_commit_that_cannot_be_tagged_is_taken_back(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_tags(repository: Path, *arguments: str) -> str:
        if arguments[:2] == ("tag", "--annotate"):
            raise UserError("git tag: no")
        return git(repository, *arguments)

    before = git(repository, "rev-parse", "HEAD")
    monkeypatch.setattr(release, "git", without_tags)
    with pytest.raises(UserError, match="git tag: no"):
        release.cut(repository, "0.1.0", TODAY)
    assert git(repository, "rev-parse", "HEAD") == before
    assert git(repository, "status", "--porcelain") == ""


DIGEST = "ab" * 32
RELEASED = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-24\n\n- New.\n\n## 0.1.0 - 2026-12-01\n\n- Old.\n"


class GitLab(ThreadingHTTPServer):
    """Keeps what was sent to it by path; refuses any token but ``right``, and a release that exists."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: GitLab

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 401 if self.headers["JOB-TOKEN"] != "right" else 201
        if status == 201 and self.command == "POST" and self.path in self.server.received:
            status = 409
        if status == 201:
            self.server.received[self.path] = body
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def gitlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLab]:
    (tmp_path / "CHANGELOG.md").write_text(RELEASED)
    (tmp_path / "lambda.sha256").write_text(DIGEST)
    (tmp_path / f"lambda-{DIGEST}.zip").write_bytes(b"zip")
    (tmp_path / f"lambda-{DIGEST}.cdx.json").write_bytes(b"bill")
    (tmp_path / f"image-{DIGEST}.cdx.json").write_bytes(b"image")
    (tmp_path / ".gitlab-ci.yml").write_text(f'  PMP_IMAGE_DIGEST: "sha256:{DIGEST}"\n  PMP_IMAGE_INPUTS: "x"\n')
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setenv("PMP_BUILD_DIRECTORY", str(tmp_path))
    with GitLab() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("CI_API_V4_URL", f"http://127.0.0.1:{server.server_address[1]}/api/v4")
        monkeypatch.setenv("CI_PROJECT_ID", "7")
        monkeypatch.setenv("CI_JOB_TOKEN", "right")
        yield server
        server.shutdown()
        thread.join()


def test_a_published_release_has_its_notes_and_files(gitlab: GitLab) -> None:
    release.publish("v0.2.0")
    release.publish("v0.2.0")  # as a retried job does
    packages = "/api/v4/projects/7/packages/generic/pmp/0.2.0"
    assert gitlab.received[f"{packages}/lambda-{DIGEST}.zip"] == b"zip"
    assert gitlab.received[f"{packages}/lambda-{DIGEST}.cdx.json"] == b"bill"
    assert gitlab.received[f"{packages}/image-{DIGEST}.cdx.json"] == b"image"
    document = json.loads(gitlab.received["/api/v4/projects/7/releases"])
    assert (document["tag_name"], document["description"]) == ("v0.2.0", "- New.")
    assert [link["name"] for link in document["assets"]["links"]] == [
        f"lambda-{DIGEST}.zip",
        f"lambda-{DIGEST}.cdx.json",
        f"image-{DIGEST}.cdx.json",
    ]


def test_a_release_that_gitlab_refuses_says_so(gitlab: GitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", "wrong")
    with pytest.raises(UserError, match=r"GitLab refused PUT .*: 401"):
        release.publish("v0.2.0")
    assert gitlab.received == {}


@pytest.mark.usefixtures("gitlab")
def test_a_tag_that_the_changelog_does_not_know_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"CHANGELOG\.md has no version 0\.3\.0: 'make release VERSION=0\.3\.0' adds it"
    ):
        release.publish("v0.3.0")


@pytest.mark.usefixtures("gitlab")
@pytest.mark.parametrize("what", ["lambda", "image"])
def test_a_release_without_a_bill_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / f"{what}-{DIGEST}.cdx.json").unlink()
    with pytest.raises(
        UserError, match=rf"^{what}-.* is missing: run 'python -m ops' with package, sbom and image-sbom"
    ):
        release.publish("v0.2.0")
