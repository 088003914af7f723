"""The S3 URLs that clients receive."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pmp import objects


@pytest.fixture
def _on_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    objects.client.cache_clear()
    yield
    objects.client.cache_clear()


@pytest.mark.usefixtures("_on_aws")
@pytest.mark.parametrize("region", ["eu-west-1", "eu-south-1", "il-central-1"])
@pytest.mark.parametrize("method", ["get_object", "put_object"])
def test_presigned_url_names_the_region(monkeypatch: pytest.MonkeyPatch, region: str, method: str) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    url = objects.client().generate_presigned_url(method, Params={"Bucket": "pmp-dev-imports", "Key": "a"})
    assert urlsplit(url).hostname == f"pmp-dev-imports.s3.{region}.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("__version__ = '1.36.0'", "ok"),
        ('import x\n__version__ = "2.0.1"\n', "ok"),
        ("__version__ = '1.35.99'", "too_old"),
        ("__author__ = 'x'", "too_old"),
        (None, "missing"),
    ],
)
def test_boto3_of_the_runtime_is_recognised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, state: str
) -> None:
    package = tmp_path / "boto3" / "__init__.py"
    if text is not None:
        package.parent.mkdir()
        package.write_text(text)
    monkeypatch.delitem(sys.modules, "boto3", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    assert objects.boto3_state() == state


def test_installed_boto3_is_recent_enough() -> None:
    assert objects.boto3_state() == "ok"
