"""The page at /docs in a real browser, served from the zip as deployed, without any other host."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from checks import chromium
from tests.unit.api.test_build import ROOT, load


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundle: Path = load().build(tmp_path_factory.mktemp("docs"))[1]
    environment = os.environ | {
        "PYTHONPATH": f"{bundle}:{ROOT}",
        "PMP_ENVIRONMENT": "local",
        "PMP_RELEASE": "release-shown-on-the-page",
        "PMP_DATABASE_HOST": "127.0.0.1",
        "PMP_DATABASE_PORT": "1",
        "PMP_DATABASE_NAME": "pmp",
        "PMP_DATABASE_USER": "pmp_app",
    }
    command = [sys.executable, "-m", "checks.gateway", "--workers", "2"]
    server = subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(timeout=10)


def test_page_loads_nothing_from_another_host(url: str) -> None:
    with urllib.request.urlopen(f"{url}/docs", timeout=10) as response:
        page = response.read().decode()
        policy = response.headers["Content-Security-Policy"]
    assert "://" not in page
    assert "script-src 'self'; " in policy
    assert "default-src 'none'" in policy


def test_idle_connections_do_not_block_requests(url: str) -> None:
    """Chromium opens connections in advance, and more of them than it then uses."""
    address = urlsplit(url)
    with ExitStack() as idle:
        for _ in range(6):
            idle.enter_context(socket.create_connection((address.hostname, address.port)))
        with urllib.request.urlopen(f"{url}/v1/health", timeout=10) as response:
            assert response.status == HTTPStatus.OK


def test_page_shows_every_operation_and_sends_a_request(url: str) -> None:
    with chromium.page() as page:
        page.call("Page.navigate", url=f"{url}/docs")
        operations = sum(map(len, json.loads((ROOT / "lambda/pmp/openapi.json").read_text())["paths"].values()))
        page.wait(f"document.querySelectorAll('.opblock').length === {operations}")
        assert page.evaluate("document.querySelector('.info .title').innerText").startswith("PMP")
        health = "#operations-Service-getHealth"
        page.evaluate(f"document.querySelector('{health} .opblock-summary-control').click()")
        # Swagger UI shows the button before it has read the operation, and an early click is lost
        # (OperationNotFoundError in its console). It has read the operation once it shows the responses.
        page.wait(f"document.querySelector('{health} .responses-table') !== null")
        page.evaluate(f"document.querySelector('{health} .execute').click()")
        text = page.wait(f"document.querySelector('{health} .live-responses-table')?.innerText")
        assert "200" in text
        assert "release-shown-on-the-page" in text
        assert page.complaints() == []
        hosts = {address.split("/")[2] for address in page.requested() if address.startswith("http")}
        assert hosts == {url.split("/")[2]}
        assert f"{url}/v1/health" in page.requested()
