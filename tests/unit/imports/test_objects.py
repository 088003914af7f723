"""The S3 URLs that clients receive."""

from collections.abc import Iterator
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
