"""Environment variables that the function reads."""

import pytest
from pmp.configuration import configuration


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PMP_ENVIRONMENT": "local",
        "PMP_DATABASE_HOST": "127.0.0.1",
        "PMP_DATABASE_PORT": "1",
        "PMP_DATABASE_NAME": "pmp",
        "PMP_DATABASE_USER": "pmp_app",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PMP_VENDOR_LIST_URL": "http://127.0.0.1:1/v3/vendor-list.json",
    }.items():
        monkeypatch.setenv(name, value)
    configuration.cache_clear()
