"""The image of the pipeline's jobs: which one the pipeline file names, and what it was built from (ADR 0605)."""

import re
import subprocess
from pathlib import Path

from ops.errors import UserError
from ops.files import replace
from ops.settings import ROOT

NOT_RECORDED = f"sha256:{'0' * 64}"
"""The digest in ``.gitlab-ci.yml`` until a GitLab project has built its first image."""

_PIPELINE = Path(".gitlab-ci.yml")


def inputs(root: Path = ROOT) -> str:
    """Return the SHA-256 of the files that the image is built from, as 64 hexadecimal digits."""
    return subprocess.run(
        ["sh", str(root / "ops/image/inputs.sh")], check=True, capture_output=True, text=True
    ).stdout.strip()


def recorded(root: Path = ROOT) -> tuple[str, str]:
    """Return the digest that jobs run, and the hash of the inputs that it was built from.

    Raises:
        UserError: the pipeline file lacks one of the two.
    """
    text = (root / _PIPELINE).read_text()
    return _value(text, "PMP_IMAGE_DIGEST"), _value(text, "PMP_IMAGE_INPUTS")


def recorded_hexadecimal(root: Path = ROOT) -> str:
    """Return the digest that jobs run, without the name of its algorithm.

    Raises:
        UserError: no image is recorded.
    """
    digest, _ = recorded(root)
    if digest == NOT_RECORDED:
        raise UserError(
            "no image is recorded in .gitlab-ci.yml: docs/pipeline.md says how a project makes its first one"
        )
    return digest.removeprefix("sha256:")


def _value(text: str, name: str) -> str:
    found = re.search(rf'^  {name}: "([^"]*)"$', text, re.MULTILINE)
    if not found:
        raise UserError(f"{_PIPELINE} has no line '  {name}: \"…\"' under variables: restore it from git")
    return found[1]


def record(digest: str, root: Path = ROOT) -> None:
    """Write an image's digest, and the hash of what it must have been built from, into the pipeline file.

    Args:
        digest: as the job ``ci-image`` printed it, ``sha256:`` and 64 hexadecimal digits.
        root: the checkout.

    Raises:
        UserError: it is not a digest.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or digest == NOT_RECORDED:
        raise UserError(f"'{digest}' is not an image's digest: copy 'sha256:…' from the end of the job ci-image")
    text = (root / _PIPELINE).read_text()
    for name, value in {"PMP_IMAGE_DIGEST": digest, "PMP_IMAGE_INPUTS": inputs(root)}.items():
        text = text.replace(f'  {name}: "{_value(text, name)}"', f'  {name}: "{value}"')
    replace(root / _PIPELINE, text)


def check(root: Path = ROOT) -> None:
    """Check that the recorded image was built from the files of this commit.

    Raises:
        UserError: no image is recorded, or another one.
    """
    digest, built_from = recorded(root)
    if digest == NOT_RECORDED:
        raise UserError(
            "no image is recorded in .gitlab-ci.yml, so the main branch could not run a job: take the digest that the "
            "job ci-image printed, run 'make image-lock DIGEST=sha256:…', and commit the file"
        )
    if built_from != inputs(root):
        raise UserError(
            f"{digest} was not built from this commit's files, so the main branch would refuse it: take the digest "
            "that the job ci-image printed, run 'make image-lock DIGEST=sha256:…', and commit the file"
        )
