"""The connection to PostgreSQL through a transaction pooler (RDS Proxy; PgBouncer on a laptop).

A pooler may give every transaction another backend. What lives longer than a transaction is therefore forbidden:
named prepared statements, SET, session advisory locks, temporary tables, LISTEN. pg8000's own unnamed statements send a
Sync between Parse and Bind, which lets a pooler change the backend between the two; ``Connection`` below sends the
whole exchange with one Sync, which is safe anywhere and costs one round trip instead of three.
"""

import hashlib
import hmac
import os
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from importlib import import_module
from types import ModuleType
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from pmp.configuration import configuration

SOCKET_TIMEOUT_SECONDS = 10
"""Longer than the proxy's borrow timeout, shorter than the function's own: asserted by the modules' sizing tests."""

_TOKEN_LIFETIME_SECONDS = 900
_LOST_STATEMENT = {"26000", "42P05"}
_SERVER_GONE = {"57P01", "57P02", "57P03"}

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def _deferred_imports() -> Iterator[None]:
    """While pg8000 is imported, answer its slow imports with stand-ins that load the real module when first used.

    pg8000 imports dateutil (for timestamps outside of Python's range), scramp with asn1crypto (for SCRAM log-ins, while
    RDS Proxy takes a token) and importlib.metadata (for its own version): most of its import time, for what a request
    does not use. The stand-ins leave ``sys.modules`` afterwards, so other packages get the real ones.
    """

    def attribute_of(module: str, name: str) -> Callable[..., Any]:
        def load_and_call(*args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(module), name)(*args, **kwargs)

        return load_and_call

    parser = ModuleType("dateutil.parser")
    parser.parse = attribute_of("dateutil.parser", "parse")  # type: ignore[attr-defined]
    parser.ParserError = ValueError  # type: ignore[attr-defined]  # the real one's base class
    package = ModuleType("dateutil")
    package.parser = parser  # type: ignore[attr-defined]
    scramp = ModuleType("scramp")
    scramp.ScramClient = attribute_of("scramp", "ScramClient")  # type: ignore[attr-defined]
    metadata = ModuleType("importlib.metadata")
    metadata.version = lambda _name: "deferred"  # type: ignore[attr-defined]
    stand_ins = {
        "dateutil": package,
        "dateutil.parser": parser,
        "scramp": scramp,
        "importlib.metadata": metadata,
    }
    added = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


with _deferred_imports():
    import pg8000.native
    from pg8000.core import NULL_BYTE, PORTAL, SYNC_MSG, Context, _flush, _write
    from pg8000.exceptions import DatabaseError, InterfaceError

__all__ = [
    "Connection", "DatabaseError", "InterfaceError", "after_commit", "authentication_token", "connect", "disconnect",
    "error_code", "is_lost", "retry_read", "retry_uncommitted", "tls", "transaction",
]  # fmt: skip


class Connection(pg8000.native.Connection):  # type: ignore[misc]
    """pg8000's native connection whose parametrised statements are one round trip and one implicit transaction."""

    begins_with_next = False
    """Send BEGIN along with the next statement instead of waiting for its own answer."""

    def execute_simple(self, statement: str) -> Any:
        """A statement without parameters."""
        if self.begins_with_next:
            self.begins_with_next = False
            super().execute_simple("BEGIN")
        return super().execute_simple(statement)

    def execute_unnamed(self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None) -> Any:
        """Parse, bind, describe, execute and sync in one message; COPY (``stream``) stays pg8000's own."""
        if self._sock is None:
            raise InterfaceError("connection is closed")
        if stream is not None:
            if self.begins_with_next:
                self.begins_with_next = False
                super().execute_simple("BEGIN")
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        begins, self.begins_with_next = self.begins_with_next, False
        if begins:
            self.send_QUERY("BEGIN")
        context = Context(statement)
        self.send_PARSE(NULL_BYTE, statement, oids)
        self.send_BIND(NULL_BYTE, pg8000.native.make_params(self.py_types, vals))
        self._send_message(b"D", PORTAL + NULL_BYTE)
        self.send_EXECUTE()
        _write(self._sock, SYNC_MSG)
        _flush(self._sock)
        if begins:
            self.handle_messages(Context("BEGIN"))
        self.handle_messages(context)
        return context


def authentication_token(host: str, port: int, user: str, region: str, now: float | None = None) -> str:
    """An RDS IAM authentication token: a Signature Version 4 presigned ``connect`` request without its scheme.

    The algorithm: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
    botocore does the same in ``generate_db_auth_token`` (the test compares the two), at 0.3 s of import time.

    Args:
        host: the proxy's, as the client dials it.
        port: the proxy's.
        user: the database role to log in as.
        region: of the proxy.
        now: seconds since the epoch; the present by default.

    Raises:
        KeyError: no AWS credentials in the environment.
    """
    key_id, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    moment = time.gmtime(time.time() if now is None else now)
    date, instant = time.strftime("%Y%m%d", moment), time.strftime("%Y%m%dT%H%M%SZ", moment)
    scope = f"{date}/{region}/rds-db/aws4_request"
    parameters = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key_id}/{scope}",
        "X-Amz-Date": instant,
        "X-Amz-Expires": str(_TOKEN_LIFETIME_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    if session_token := os.environ.get("AWS_SESSION_TOKEN"):
        parameters["X-Amz-Security-Token"] = session_token
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parameters.items()))
    endpoint = f"{host}:{port}"
    request = "\n".join(["GET", "/", query, f"host:{endpoint}", "", "host", hashlib.sha256(b"").hexdigest()])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", instant, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{endpoint}/?{query}&X-Amz-Signature={key.hex()}"


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """A verifying context. Its trust is OpenSSL's own: the system's authorities, or what ``SSL_CERT_FILE`` names."""
    return ssl.create_default_context()


_connection: Connection | None = None


def connect() -> Connection:
    """The invocation's connection: opened once, kept for later invocations, verified TLS, an IAM token as password.

    Raises:
        InterfaceError: the proxy cannot be reached.
        ssl.SSLError: its certificate does not verify.
        DatabaseError: the log-in was refused.
    """
    global _connection  # noqa: PLW0603 - the one thing that outlives an invocation
    if _connection is None:
        settings = configuration()
        _connection = Connection(
            settings.database_user,
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
            password=authentication_token(
                settings.database_host,
                settings.database_port,
                settings.database_user,
                os.environ.get("AWS_REGION", "eu-west-1"),
            ),
            ssl_context=tls(),
            timeout=SOCKET_TIMEOUT_SECONDS,
        )
    return _connection


def disconnect() -> None:
    """Forget the connection; the next ``connect`` opens a new one."""
    global _connection
    connection, _connection = _connection, None
    if connection is not None:
        try:
            connection.close()
        except (OSError, InterfaceError):
            return


def is_lost(error: BaseException) -> bool:
    """Whether the connection cannot be used after this error: the network's, the pooler's, or a lost statement."""
    if isinstance(error, DatabaseError):
        details = error.args[0] if error.args else {}
        code = details.get("C", "") if isinstance(details, dict) else ""
        return code in _LOST_STATEMENT or code in _SERVER_GONE or code.startswith("08")
    return isinstance(error, (InterfaceError, OSError, struct.error))


def error_code(error: DatabaseError) -> str:
    """The SQLSTATE of a server's error, or an empty string."""
    details = error.args[0] if error.args else {}
    return str(details.get("C", "")) if isinstance(details, dict) else ""


class LostCommitError(OSError):
    """The connection was lost at COMMIT: whether it happened is not known, so nothing may be repeated."""


def _begin() -> Connection:
    """BEGIN, once more on a fresh connection if the kept one is dead: nothing was done, so nothing is repeated."""
    connection = connect()
    try:
        connection.run("BEGIN")
    except Exception as error:
        disconnect()
        if not is_lost(error):
            raise
        connection = connect()
        connection.run("BEGIN")
    return connection


def _commit(connection: Connection) -> None:
    if connection.begins_with_next:
        connection.begins_with_next = False
        return
    try:
        connection.run("COMMIT")
    except Exception as error:
        if is_lost(error):
            raise LostCommitError(str(error)) from error
        raise


def _roll_back(connection: Connection) -> None:
    if connection.begins_with_next:
        connection.begins_with_next = False
    else:
        connection.run("ROLLBACK")


_after_commit: list[Callable[[], object]] | None = None
"""What to do once the transaction is committed; None outside of one."""


def after_commit(action: Callable[[], object]) -> None:
    """Do something that must not happen before the open transaction's writes can be seen; at once if there is none."""
    if _after_commit is None:
        action()
    else:
        _after_commit.append(action)


@contextmanager
def transaction(*, verified: bool = True) -> Iterator[Connection]:
    """The connection inside BEGIN … COMMIT; ROLLBACK on any exception; the connection dropped where it is lost.

    Inside another transaction it is a part of that one.

    Args:
        verified: BEGIN is answered before the first statement is sent, and a kept connection that died is replaced.
            Else BEGIN travels with the first statement, a round trip less, and the caller repeats what was lost
            (``retry_uncommitted``).

    Raises:
        DatabaseError: with PostgreSQL's fields in ``args[0]`` (``C`` is the SQLSTATE).
        InterfaceError, OSError: the network's, before COMMIT: nothing was done.
        LostCommitError: the network's, at COMMIT.
    """
    global _after_commit  # noqa: PLW0603
    if _after_commit is not None:
        yield connect()
        return
    if verified:
        connection = _begin()
    else:
        connection = connect()
        connection.begins_with_next = True
    actions = _after_commit = []
    try:
        yield connection
        _commit(connection)
    except BaseException as error:
        if is_lost(error) or not isinstance(error, Exception):
            disconnect()
        else:
            try:
                _roll_back(connection)
            except Exception:  # noqa: BLE001 - the first error is the one to report
                disconnect()
        raise
    finally:
        _after_commit = None
    for action in actions:
        action()


def retry_uncommitted(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function once more when its connection was lost (a kept one that died between requests) before COMMIT.

    It reads, or all its writes are in one transaction: nothing of the first run remains.
    """

    @wraps(function)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not is_lost(error) or isinstance(error, LostCommitError):
                raise
            disconnect()
            return function(*args, **kwargs)

    return attempt


retry_read = retry_uncommitted
