"""Ask the system's resolver for a zone's name servers, because Python's standard library only looks up addresses."""

import secrets
import socket
import struct
from pathlib import Path

from ops.errors import UserError

RESOLVERS = Path("/etc/resolv.conf")
PORT = 53

_SECONDS = 5
_NS, _IN = 2, 1
_POINTER = 0xC0


def name_servers(zone: str) -> set[str]:
    """Return the names of the servers that the world is told to ask about ``zone``, in lower case, without a final dot.

    The set is empty where nobody delegates the zone. One question over UDP, as RFC 1035 describes it.

    Raises:
        UserError: there is no resolver, or it does not answer.
    """
    question = secrets.token_bytes(2) + struct.pack("!5H", 0x0100, 1, 0, 0, 0)
    labels = zone.rstrip(".").encode("idna").split(b".")
    question += b"".join(bytes([len(label)]) + label for label in labels) + struct.pack("!BHH", 0, _NS, _IN)
    resolver = _resolver()
    family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.settimeout(_SECONDS)
        try:
            # Connected, so that an answer of anybody else is dropped.
            connection.connect((resolver, PORT))
            connection.send(question)
            answer = connection.recv(4096)
        except OSError as error:
            raise UserError(f"the resolver {resolver} in {RESOLVERS} does not answer: {error}") from error
    try:
        return _answered(question, answer)
    except (IndexError, struct.error) as error:
        raise UserError(f"the resolver {resolver} sent something that is not a DNS message: {error!r}") from error


def _resolver() -> str:
    try:
        lines = RESOLVERS.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{RESOLVERS} cannot be read: {error.strerror}") from error
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            return words[1]
    raise UserError(f"{RESOLVERS} names no nameserver")


def _answered(question: bytes, message: bytes) -> set[str]:
    if message[:2] != question[:2]:
        return set()
    answers = struct.unpack_from("!H", message, 6)[0]
    position = len(question)  # the answer repeats the question
    found = set()
    for _ in range(answers):
        _, position = _name(message, position)
        kind, _, _, length = struct.unpack_from("!HHIH", message, position)
        position += 10
        if kind == _NS:
            found.add(_name(message, position)[0])
        position += length
    return found


def _name(message: bytes, position: int) -> tuple[str, int]:
    """Return the name at ``position``, which may end in a pointer to an earlier one, and the position after it."""
    labels: list[str] = []
    end = 0
    # No name has more labels than this, so that pointers in a circle end.
    for _ in range(128):
        length = message[position]
        if length >= _POINTER:
            end = end or position + 2
            position = struct.unpack_from("!H", message, position)[0] & 0x3FFF
        elif length == 0:
            return ".".join(labels).lower(), end or position + 1
        else:
            labels.append(message[position + 1 : position + 1 + length].decode("ascii", errors="replace"))
            position += 1 + length
    raise IndexError("a name without an end")
