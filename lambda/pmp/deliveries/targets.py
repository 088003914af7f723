"""Where messages may go: public addresses, by https on port 443. Whoever may subscribe must not reach what PMP reaches.

https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pmp.configuration import configuration

MOST_CHARACTERS = 2048
_PORT = 443
"""The only one that the function's security group lets out to the Internet (modules/network)."""
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)
_LOOPBACK_HOSTS = {"localhost", "127.0.0.1"}
_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is assigned of IPv6: https://www.iana.org/assignments/ipv6-address-space/ipv6-address-space.xhtml."""
_SPECIAL = [
    ipaddress.ip_network(text)
    # Protocol assignments (RFC 6890), and what stands for an IPv4 address, perhaps a private one (RFC 3056, RFC 4380).
    # The versions of Python differ about some of them.
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "2001::/23")
]


class RefusedError(Exception):
    """The address must not be connected to; the text says why."""


@dataclass(frozen=True)
class Target:
    """A parsed URL of a receiver."""

    is_encrypted: bool
    host: str
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.host if self.port == (443 if self.is_encrypted else 80) else f"{self.host}:{self.port}"


def allows_loopback() -> bool:
    """Whether receivers on this machine are allowed: on a laptop, where Terraform says so."""
    settings = configuration()
    return settings.environment == "local" and settings.loopback_receivers


def parse(url: str) -> Target:
    """The parts of a receiver's URL.

    Raises:
        RefusedError: messages must not be sent there, whatever the name resolves to.
    """
    if len(url) > MOST_CHARACTERS or not _URL.fullmatch(url):
        raise RefusedError(f"must have up to {MOST_CHARACTERS} characters of ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise RefusedError("is not a URL") from None
    if "@" in parts.netloc or "#" in url:
        raise RefusedError("must have neither a user nor a fragment")
    if "\\" in url:
        raise RefusedError("must not have a backslash")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if allows_loopback() and host in _LOOPBACK_HOSTS and parts.scheme in {"http", "https"}:
        is_encrypted = parts.scheme == "https"
        return Target(is_encrypted, host, port or (443 if is_encrypted else 80), path)
    _refuse(parts, host, port)
    return Target(True, host, _PORT, path)


def _refuse(parts: SplitResult, host: str, port: int | None) -> None:
    if parts.scheme != "https":
        raise RefusedError("must begin with https://")
    if not _HOST.fullmatch(host):
        raise RefusedError("must name a host by a full domain name, not by an address")
    if port not in {None, _PORT}:
        raise RefusedError(f"must use port {_PORT}")


def resolve(target: Target) -> tuple[str, ...]:
    """The target's addresses, in the order in which to try them; each may be connected to.

    The caller connects to one of these, and does not ask for the name again: its next answer may be another.

    Raises:
        RefusedError: one of its addresses is not public.
        OSError: the name does not resolve.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    is_on_laptop = allows_loopback() and target.host in _LOOPBACK_HOSTS
    for address in addresses:
        if not (ipaddress.ip_address(address).is_loopback if is_on_laptop else is_public(address)):
            raise RefusedError(f"{target.host} has the address {address}, which is not public")
    # The private subnets have no way out for IPv6.
    return tuple(sorted(addresses, key=lambda address: ":" in address))


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet.

    Not loopback, private, link-local, shared (RFC 6598), multicast, unique local or reserved; nor IPv6 that stands for
    IPv4.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if "%" in text or address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.version == 4 or address in _UNICAST
