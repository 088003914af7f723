"""Where messages may go: the names and addresses that are refused, also when a name's address changes."""

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pmp import configuration, database
from pmp.deliveries import posting, targets

from local.servers.certificates import Authority


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATABASE_HOST", "DATABASE_NAME", "DATABASE_USER"):
        monkeypatch.setenv(f"PMP_{name}", "x")
    monkeypatch.setenv("PMP_ENVIRONMENT", "dev")
    monkeypatch.setenv("PMP_LOOPBACK_RECEIVERS", "false")
    configuration.configuration.cache_clear()
    yield
    configuration.configuration.cache_clear()
    database.tls.cache_clear()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Let the resolver give these answers, one after another, the last one again and again."""
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3",  # noqa: S104 - must be refused
    "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:808:808::", "2001::1", "2001:db8::1", "fec0::1",
])  # fmt: skip
def test_addresses_that_are_not_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert not targets.is_public(address)
    resolving(monkeypatch, [address])
    with pytest.raises(targets.RefusedError, match="not public"):
        targets.resolve(targets.parse("https://hooks.example.com/"))
    # One bad address is enough.
    resolving(monkeypatch, ["8.8.8.8", address])
    with pytest.raises(targets.RefusedError, match="not public"):
        targets.resolve(targets.parse("https://hooks.example.com/"))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses(address: str) -> None:
    assert targets.is_public(address)


def test_addresses_of_ipv4_are_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["2606:4700::1111", "1.1.1.1", "1.1.1.1"])
    assert targets.resolve(targets.parse("https://hooks.example.com")) == ("1.1.1.1", "2606:4700::1111")


@pytest.mark.parametrize("url", [
    "https://localhost/", "http://localhost:8000/", "https://127.0.0.1/", "http://127.0.0.1:8000/", "https://[::1]/",
    "https://127.1/", "https://0/", "https://example.com.:444/", "ftp://example.com/", "https:example.com",
    "//example.com",
    "https://", "https:///x", "https://a:b@example.com/", "https://example.com:80/", "https://exa mple.com/",
    "https://-a.example.com/", "https://a..example.com/", "https://" + "a" * 64 + ".example.com/", "https://1.2.3.4.5/",
    "https://example.com/" + "a" * 2048, "https://[example.com]/", "https://example.com:x/", "HTTPS://10.0.0.1/",
])  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(targets.RefusedError):
        targets.parse(url)


def test_a_url_is_read_in_parts() -> None:
    target = targets.parse("https://Hooks.Example.com:443/a/b?c=d")
    assert target == targets.Target(True, "hooks.example.com", 443, "/a/b?c=d")
    assert target.authority == "hooks.example.com"
    assert targets.parse("https://hooks.example.com").path == "/"


@pytest.mark.parametrize(("environment", "input"), [("dev", "true"), ("prod", "true"), ("local", "false")])
def test_loopback_needs_the_laptop_and_its_input(
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    input: str,  # noqa: A002
) -> None:
    monkeypatch.setenv("PMP_ENVIRONMENT", environment)
    monkeypatch.setenv("PMP_LOOPBACK_RECEIVERS", input)
    with pytest.raises(targets.RefusedError):
        targets.parse("http://localhost:8000/")
    resolving(monkeypatch, ["127.0.0.1"])
    with pytest.raises(targets.RefusedError):
        targets.resolve(targets.Target(False, "localhost", 8000, "/"))


def test_on_a_laptop_only_loopback_needs_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMP_ENVIRONMENT", "local")
    monkeypatch.setenv("PMP_LOOPBACK_RECEIVERS", "true")
    assert targets.parse("http://localhost:8000/x").authority == "localhost:8000"
    for url in ("http://example.com/", "https://10.0.0.1/", "https://169.254.169.254/"):
        with pytest.raises(targets.RefusedError):
            targets.parse(url)
    # The name does not help if it leads elsewhere.
    resolving(monkeypatch, ["10.0.0.1"])
    with pytest.raises(targets.RefusedError):
        targets.resolve(targets.parse("http://localhost:8000/x"))


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that were connected to; all of them lead nowhere."""
    seen: list[str] = []

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        seen.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    return seen


def test_the_address_that_was_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch, connected: list[str]) -> None:
    # The second answer would come if the name were asked for again: DNS rebinding.
    resolving(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    receiver = posting.Receiver("https://rebinding.example.com/")
    assert receiver.post(b"", {}).error is not None
    assert connected == ["8.8.8.8"]
    # And each message asks again.
    outcome = receiver.post(b"", {})
    assert outcome.error == "not sent: rebinding.example.com has the address 127.0.0.1, which is not public"
    assert connected == ["8.8.8.8"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize(("name", "is_trusted"), [("hooks.example.com", True), ("other.example.com", False)])
def test_certificate_must_be_of_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, is_trusted: bool
) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("receiver", [name])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    database.tls.cache_clear()
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    server.hosts = []  # type: ignore[attr-defined]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert_path, certificate.key_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    resolving(monkeypatch, ["8.8.8.8"])

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        assert address == ("8.8.8.8", 443)
        connected = socket.socket()
        connected.settimeout(timeout)
        connected.connect(server.server_address)
        return connected

    monkeypatch.setattr(socket, "create_connection", create_connection)
    receiver = posting.Receiver("https://hooks.example.com/x")
    outcomes = [receiver.post(b"{}", {}) for _ in range(2)]
    receiver.close()
    server.shutdown()
    server.server_close()
    if is_trusted:
        assert [outcome.status for outcome in outcomes] == [204, 204]
        assert server.hosts == ["hooks.example.com"] * 2  # type: ignore[attr-defined]
    else:
        assert all("CERTIFICATE_VERIFY_FAILED" in str(outcome.error) for outcome in outcomes)
