"""One question to a resolver: its answer with compressed names, none, and what is not an answer."""

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import dns
from ops.errors import UserError

Reply = Callable[[bytes], bytes]


@pytest.fixture
def resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Reply], list[bytes]]:
    """Return a function that starts a resolver which sends one reply, and the questions that it gets."""

    def start(reply: Reply) -> list[bytes]:
        asked: list[bytes] = []
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            question, address = server.recvfrom(4096)
            asked.append(question)
            server.sendto(reply(question), address)
            server.close()

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setattr(dns, "PORT", server.getsockname()[1])
        return asked

    file = tmp_path / "resolv.conf"
    file.write_text("# comment\nsearch example.com\nnameserver 127.0.0.1\nnameserver 127.0.0.2\n")
    monkeypatch.setattr(dns, "RESOLVERS", file)
    monkeypatch.setattr(dns, "_SECONDS", 0.5)
    return start


def answered(question: bytes, *records: tuple[int, bytes]) -> bytes:
    """Return an answer whose records are named by a pointer to the question."""
    header = question[:2] + struct.pack("!5H", 0x8180, 1, len(records), 0, 0)
    lines = [b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 300, len(data)) + data for kind, data in records]
    return header + question[12:] + b"".join(lines)


def test_name_servers_are_read_from_the_answer(resolver: Callable[[Reply], list[bytes]]) -> None:
    one = b"\x04ns-1\x06awsdns\x03COM\x00"
    # The second ends in a pointer to "example.com", which is part of the question: pmp.example.com.
    two = b"\x03ns2\xc0\x10"
    asked = resolver(lambda question: answered(question, (2, one), (5, b"\x01x\x00"), (2, two)))
    assert dns.name_servers("pmp.example.com.") == {"ns-1.awsdns.com", "ns2.example.com"}
    assert asked[0][12:] == b"\x03pmp\x07example\x03com\x00\x00\x02\x00\x01"


def test_nobody_delegates_an_unknown_zone(resolver: Callable[[Reply], list[bytes]]) -> None:
    resolver(answered)
    assert dns.name_servers("pmp.example.com") == set()


@pytest.mark.parametrize(
    "reply",
    [
        lambda question: question[:2] + b"\x81\x80",
        lambda question: answered(question, (2, b"\x09cut")),
        # A name that points to itself.
        lambda question: answered(question, (2, b"\xc0" + bytes([len(question) + 12]))),
    ],
    ids=["cut off", "cut name", "circle"],
)
def test_what_is_not_a_message_is_an_error(resolver: Callable[[Reply], list[bytes]], reply: Reply) -> None:
    resolver(reply)
    with pytest.raises(UserError, match="not a DNS message"):
        dns.name_servers("pmp.example.com")


def test_a_silent_resolver_is_an_error(
    resolver: Callable[[Reply], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "PORT", 1)
    with pytest.raises(UserError, match=r"the resolver 127\.0\.0\.1 in .* does not answer"):
        dns.name_servers("pmp.example.com")


def test_no_resolver_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "RESOLVERS", tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        dns.name_servers("pmp.example.com")
    (tmp_path / "none").write_text("search example.com\n")
    with pytest.raises(UserError, match="names no nameserver"):
        dns.name_servers("pmp.example.com")
