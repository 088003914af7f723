"""The image of the pipeline's jobs: its inputs, its recorded digest, and the scripts around it."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from ops import images
from ops.errors import UserError
from ops.settings import ROOT

DIGEST = f"sha256:{'ab' * 32}"
DOCKERFILE = (ROOT / "ops/image/Dockerfile").read_text()
LOCKS = "".join(file.read_text() for file in sorted((ROOT / "envs").glob("*/.terraform.lock.hcl")))
COPIED = sorted(
    {word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the pipeline file and all that the image is built from."""
    for name in (".gitlab-ci.yml", "ops/image", "ops/pipeline", *COPIED):
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    return tmp_path / "checkout"


# -- inputs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ops/image/Dockerfile", *COPIED])
def test_every_copied_file_is_an_input(checkout: Path, name: str) -> None:
    before = images.inputs(checkout)
    with (checkout / name).open("a") as file:
        file.write("\n")
    assert images.inputs(checkout) != before


def test_other_files_are_not_inputs(checkout: Path) -> None:
    before = images.inputs(checkout)
    os.utime(checkout / "requirements.lock", (0, 0))
    (checkout / "ops/image/publish.sh").write_text("#\n")
    assert images.inputs(checkout) == before


def test_a_change_of_an_input_builds_an_image() -> None:
    patterns = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text().split("\n---\n")[-1])["ci-image"]["rules"][-1]
    unnoticed = [name for name in COPIED if not any(Path(name).match(pattern) for pattern in patterns["changes"])]
    assert unnoticed == []


def test_nothing_is_downloaded_without_a_digest() -> None:
    assert re.search(r"^ARG BASE=debian:[a-z]+-slim@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^ADD|curl |wget |https?://", DOCKERFILE, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert bases == {"${BASE}", "base", "scratch"}, "every other base image needs a digest"
    for command in re.findall(r"pip install (?:[^\n]*\\\n)*[^\n]*", DOCKERFILE):
        assert "--require-hashes" in command
    pipeline = (ROOT / ".gitlab-ci.yml").read_text()
    assert len(re.findall(r"docker:\S+@sha256:[0-9a-f]{64}$", pipeline, re.MULTILINE)) == pipeline.count(" docker:")


def test_the_image_has_all_packages_that_jobs_look_for() -> None:
    rows = [line.split() for line in (ROOT / "ops/packages.txt").read_text().splitlines() if not line.startswith("#")]
    lacking = [name for name, purposes, _ in rows if "laptop" in purposes and "image" not in purposes]
    assert lacking == [], "`make` checks for the packages of a laptop in every job"


# Serves an archive per URL from the folder ARCHIVES.
CURL = """#!/bin/sh
while [ "$1" != --output ]; do shift; done
case "$3" in
  */terraform_*.zip) cp "$ARCHIVES/terraform.zip" "$2" ;;
  */go1.*) cp "$ARCHIVES/go.tar" "$2" ;;
  */node-*) cp "$ARCHIVES/node.tar" "$2" ;;
esac
"""
# Notes what it was asked for. `providers mirror` writes a packed provider for each that is required.
TERRAFORM = """#!/bin/sh
folder="${1#-chdir=}"
echo "$2 $3" >> "$NOTES"
[ "$2" = providers ] || exit 0
sed -n 's/.*source = "\\(.*\\)", version = "\\(.*\\)".*/\\1 \\2/p' "$folder/providers.tf" |
while read -r source version; do
  mkdir -p "$5/registry/$source"
  (cd "$folder" && echo provider > terraform-provider-x && python3 -m zipfile --create x.zip terraform-provider-x)
  cp "$folder/x.zip" "$5/registry/$source/terraform-provider-x_${version}_linux_amd64.zip"
done
"""


def downloads(tmp_path: Path, *, checksums_fit: bool) -> subprocess.CompletedProcess[str]:
    """Run the script on archives that a fake curl serves, for the lock files of both layers."""
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    archives = tmp_path / "archives"
    archives.mkdir()
    with zipfile.ZipFile(archives / "terraform.zip", "w") as archive:
        archive.writestr("terraform", TERRAFORM)
    for name, member in {"go": "go/bin/go", "node": "node-v20/bin/node"}.items():
        with tarfile.open(archives / f"{name}.tar", "w") as tar:
            for folder in (member, "node-v20/lib/node_modules/x"):
                tar.addfile(tarfile.TarInfo(folder))
    text = (ROOT / "ops/image/downloads.sh").read_text()
    if checksums_fit:
        digests = [hashlib.sha256((archives / name).read_bytes()).hexdigest() for name in ARCHIVES]
        text = re.sub(r"\b[0-9a-f]{64}\b", lambda _: digests.pop(0), text)
    (tmp_path / "downloads.sh").write_text(text)
    locks = [ROOT / f"envs/{layer}/.terraform.lock.hcl" for layer in ("foundation", "service")]
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ARCHIVES": str(archives),
        "NOTES": str(tmp_path / "notes"),
    }
    return subprocess.run(
        ["dash", tmp_path / "downloads.sh", tmp_path / "out", *locks],
        env=os.environ | variables | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


ARCHIVES = ("terraform.zip", "go.tar", "node.tar")


def test_downloads_are_unpacked_where_jobs_look_for_them(tmp_path: Path) -> None:
    done = downloads(tmp_path, checksums_fit=True)
    assert done.returncode == 0, done.stderr
    local = tmp_path / "out/usr/local"
    for name in ("bin/terraform", "go/bin/go", "bin/node", "lib/node_modules/x"):
        assert (local / name).exists(), name
    locked = re.findall(r'provider "registry.terraform.io/(\S+)" {\s+version\s+= "(\S+)"', LOCKS)
    assert locked
    for source, version in locked:
        provider = local / f"share/terraform/plugins/registry/{source}/{version}/linux_amd64/terraform-provider-x"
        assert provider.stat().st_mode & 0o111, "Terraform links an unpacked provider"
    assert not list(local.rglob("*.zip"))
    assert (tmp_path / "notes").read_text().split("\n")[:2] == ["providers mirror", "init -lockfile=readonly"]


def test_a_download_with_another_checksum_is_refused(tmp_path: Path) -> None:
    done = downloads(tmp_path, checksums_fit=False)
    assert done.returncode == 1
    assert re.search(r"^error: https://releases\S+ does not have the SHA-256 [0-9a-f]{64}: ", done.stderr)
    assert not list((tmp_path / "out/usr/local/bin").iterdir())


def test_the_image_has_the_go_that_the_linters_need() -> None:
    def version(pattern: str, file: str) -> tuple[int, ...]:
        match = re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
        assert match, f"{file} names no version of Go"
        return tuple(map(int, match[1].split(".")))

    wanted = version(r"^go ([\d.]+)$", "tests/terratest/go.mod")
    assert version(r"/go([\d.]+)\.linux", "ops/image/downloads.sh") >= wanted


# -- the recorded digest -----------------------------------------------------------------------------------------------


def test_recorded_digest_is_what_jobs_run(checkout: Path) -> None:
    images.record(DIGEST, checkout)
    assert images.recorded(checkout) == (DIGEST, images.inputs(checkout))
    images.check(checkout)
    changed = (checkout / ".gitlab-ci.yml").read_text().splitlines()
    before = (ROOT / ".gitlab-ci.yml").read_text().splitlines()
    assert sum(one != two for one, two in zip(before, changed, strict=True)) == 2


@pytest.mark.parametrize("digest", ["", "sha256:12", "1" * 64, f"sha256:{'g' * 64}", images.NOT_RECORDED])
def test_only_a_digest_is_recorded(checkout: Path, digest: str) -> None:
    with pytest.raises(UserError, match=r"is not an image's digest: copy"):
        images.record(digest, checkout)


def test_a_merge_request_that_records_no_image_fails(checkout: Path) -> None:
    text = (checkout / ".gitlab-ci.yml").read_text()
    (checkout / ".gitlab-ci.yml").write_text(
        re.sub(r'  PMP_IMAGE_DIGEST: ".*"', f'  PMP_IMAGE_DIGEST: "{images.NOT_RECORDED}"', text)
    )
    with pytest.raises(UserError, match=r"no image is recorded.*make image-lock"):
        images.check(checkout)
    images.record(DIGEST, checkout)
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("another==1\n")
    with pytest.raises(UserError, match=r"was not built from this commit's files.*make image-lock"):
        images.check(checkout)


# -- the job that builds it --------------------------------------------------------------------------------------------

# Knows images by name, each with a label. Notes its calls.
DOCKER = """#!/bin/sh
echo "$*" >> "$NOTES"
case "$1" in
  login) [ "$(cat)" = secret ] ;;
  inspect) case "$3" in *Labels*) echo "$LABEL" ;; *) echo "registry.invalid/pmp/ci@sha256:built" ;; esac ;;
esac
"""


def publish(checkout: Path, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the job's script in BusyBox's shell with a fake docker."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "CI_REGISTRY": "registry.invalid",
        "CI_JOB_ID": "7",
        "CI_REGISTRY_IMAGE": "registry.invalid/pmp",
        "CI_REGISTRY_USER": "job",
        "CI_REGISTRY_PASSWORD": "secret",
        "PMP_IMAGE_DIGEST": DIGEST,
        **variables,
    }
    command = ["busybox", "sh", "ops/image/publish.sh"]
    return subprocess.run(command, cwd=checkout, env=given, capture_output=True, text=True, check=False)


def test_a_recorded_image_of_the_same_inputs_is_used(checkout: Path, tmp_path: Path) -> None:
    inputs = images.inputs(checkout)
    done = publish(checkout, tmp_path, PMP_IMAGE_INPUTS=inputs, LABEL=inputs)
    assert done.returncode == 0, done.stderr
    assert (checkout / "image.env").read_text() == f"PMP_IMAGE=registry.invalid/pmp/ci@{DIGEST}\n"
    assert "build" not in (tmp_path / "notes").read_text()


def test_a_recorded_image_with_another_label_is_refused(checkout: Path, tmp_path: Path) -> None:
    done = publish(checkout, tmp_path, PMP_IMAGE_INPUTS=images.inputs(checkout), LABEL="other")
    assert done.returncode == 1
    assert "was built from other files than .gitlab-ci.yml says" in done.stderr
    assert not (checkout / "image.env").exists()


def test_changed_inputs_build_an_image_for_the_jobs(checkout: Path, tmp_path: Path) -> None:
    done = publish(checkout, tmp_path, PMP_IMAGE_INPUTS="none")
    assert done.returncode == 0, done.stderr
    assert (checkout / "image.env").read_text() == "PMP_IMAGE=registry.invalid/pmp/ci@sha256:built\n"
    inputs = images.inputs(checkout)
    calls = (tmp_path / "notes").read_text().splitlines()
    assert calls[1:3] == [
        f"build --file ops/image/Dockerfile --build-arg INPUTS={inputs} --tag registry.invalid/pmp/ci:{inputs}-7 .",
        f"push --quiet registry.invalid/pmp/ci:{inputs}-7",
    ]
    assert done.stdout.endswith("Before the merge, record it: make image-lock DIGEST=sha256:built\n")
    assert "secret" not in "".join(calls) + done.stdout


# -- the jobs that run in it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_job_refuses_an_image_of_other_inputs(checkout: Path, shell: str) -> None:
    def job(built_from: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": os.environ["PATH"], "PMP_BUILT_FROM": built_from, "PMP_TOOLS": str(checkout)}
        (checkout / "bin").mkdir(exist_ok=True)
        command = [shell, "-c", ". ops/pipeline/job.sh; echo started"]
        return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False)

    refused = job("other")
    assert refused.returncode == 1
    assert "this job's image was built from other files" in refused.stderr
    assert "started" not in refused.stdout
    accepted = job(images.inputs(checkout))
    assert (accepted.returncode, accepted.stdout) == (0, "started\n"), accepted.stderr
    for folder in (".checkov", "build/bin", "build/judges", "local/executor/node_modules"):
        assert (checkout / folder).readlink() == Path("/opt/pmp-tree") / folder
