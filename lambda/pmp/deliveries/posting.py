"""Send a message to a receiver: to an address that was checked, no redirects, no proxies, within a total time."""

import datetime as dt
import http.client
import io
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pmp import database
from pmp.deliveries import targets

CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 10.0
"""From the first packet to the status of the answer."""
BODY_SECONDS = 1.0
MOST_BODY_BYTES = 16 * 1024
"""Of an answer's body nothing is used. What comes within these limits is read, so that the connection can be kept."""
_LONGEST_RETRY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Outcome:
    """What became of a message.

    Attributes:
        status: of the answer; None: there was none.
        error: what went wrong, for people; None: the message is acknowledged.
        retry_after: seconds that the receiver wants to be left alone.
    """

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more messages at all."""
        return self.status == 410


class _Deadline(io.RawIOBase):
    """A socket whose reads and writes end at one instant, however many there are."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__()
        self._socket = connected
        self.at = 0.0

    def _allow(self) -> None:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._allow()
        return self._socket.recv_into(buffer)

    def sendall(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            self._allow()
            view = view[self._socket.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - as socket.socket has it
        return io.BufferedReader(_Borrowed(self))

    def close(self) -> None:
        self._socket.close()
        super().close()


class _Borrowed(io.RawIOBase):
    """The socket as an answer reads it: closing the answer leaves the socket open."""

    def __init__(self, lender: _Deadline) -> None:
        super().__init__()
        self._lender = lender

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._lender.readinto(buffer)


class Receiver:
    """A connection to a receiver, kept from one message to the next. For one thread at a time."""

    def __init__(self, url: str) -> None:
        """Remember where to send; nothing is connected yet."""
        self.url = url
        self._connection: http.client.HTTPConnection | None = None
        self._socket: _Deadline | None = None

    def post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        """Send a message and wait for the status of the answer; never raises for what the receiver does."""
        deadline = time.monotonic() + TOTAL_SECONDS
        try:
            target = targets.parse(self.url)
            is_kept = self._socket is not None
            try:
                response = self._exchange(target, body, headers, deadline)
            except OSError as error:
                # The receiver may have closed the kept connection meanwhile.
                self.close()
                if not is_kept or isinstance(error, TimeoutError):
                    raise
                response = self._exchange(target, body, headers, deadline)
        except (targets.RefusedError, OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Outcome(None, _sentence(error))
        self._drain(response, deadline)
        return _judged(response)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._connection = self._socket = None

    def _exchange(
        self, target: targets.Target, body: bytes, headers: dict[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        if self._socket is None or self._connection is None:
            self._socket = _Deadline(_connected(target, deadline))
            self._connection = http.client.HTTPConnection(target.host, target.port)
            self._connection.auto_open = 0
        self._socket.at = deadline
        connection: Any = self._connection
        connection.sock = self._socket
        connection.request("POST", target.path, body, {"Host": target.authority, "User-Agent": "pmp", **headers})
        response: http.client.HTTPResponse = connection.getresponse()
        return response

    def _drain(self, response: http.client.HTTPResponse, deadline: float) -> None:
        if self._socket is None:
            return
        self._socket.at = min(deadline, time.monotonic() + BODY_SECONDS)
        try:
            response.read(MOST_BODY_BYTES)
            is_whole = response.isclosed() and not response.will_close
        except (OSError, http.client.HTTPException, ValueError):
            is_whole = False
        if not is_whole:
            self.close()


def _connected(target: targets.Target, deadline: float) -> socket.socket:
    last: OSError = OSError(f"{target.host} has no address")
    for address in targets.resolve(target):
        left = min(CONNECT_SECONDS, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        try:
            plain = socket.create_connection((address, target.port), timeout=left)
        except OSError as error:
            last = error
            continue
        if not target.is_encrypted:
            return plain
        try:
            # Of the name, not of the address that it has now.
            return database.tls().wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise
    raise last


def _judged(response: http.client.HTTPResponse) -> Outcome:
    if 200 <= response.status < 300:
        return Outcome(response.status)
    # Also of a redirect: where it leads was not checked.
    error = f"the receiver answered {response.status}"
    wait = _seconds(response.headers.get("Retry-After")) if response.status in {429, 503} else None
    return Outcome(response.status, error, wait)


def _seconds(text: str | None) -> float | None:
    """Retry-After (RFC 9110, section 10.2.3) in seconds, a day at most; None if it is not one."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(min(int(text[:10]), _LONGEST_RETRY_SECONDS))
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return min(max((moment - dt.datetime.now(dt.UTC)).total_seconds(), 0.0), _LONGEST_RETRY_SECONDS)
    except (ValueError, OverflowError):
        return None


def _sentence(error: Exception) -> str:
    if isinstance(error, targets.RefusedError):
        return f"not sent: {error}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TOTAL_SECONDS:g} s"
    return f"not sent, or not answered: {type(error).__name__}: {error}"[:500]
