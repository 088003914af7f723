"""The connection to PostgreSQL through a transaction pooler (RDS Proxy; PgBouncer on a laptop).

A pooler may give each transaction another backend, so nothing that outlives a transaction may be used: named prepared
statements, SET, session advisory locks, temporary tables, LISTEN. pg8000's own unnamed statements send a Sync between
Parse and Bind, at which a pooler may change the backend; ``Connection`` below sends the whole exchange with one Sync,
which is safe with any pooler and costs one round trip instead of three.

Each statement ends with the request's id as a comment, which PostgreSQL writes to its log with a slow or failed
statement. A SET of ``application_name`` would say the same, and pin the proxy's session
(https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html). An unnamed statement is parsed each
time, so the comment costs no plan, and ``pg_stat_statements`` compares statements without it.
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
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import quote

from pmp.configuration import configuration
from pmp.logging import comment

SOCKET_TIMEOUT_SECONDS = 14
"""Longer than the proxy's borrow timeout (5 s at most, modules/database) and the role's statement_timeout (8 s,
db/roles.sql) together: RDS Proxy passes no CancelRequest on, and a statement that is started again must not meet its
first run. Two attempts end before the gateway gives up (29 s)."""

READER_TIMEOUT_SECONDS = 2
"""How long a reader may take to be connected to, and to say what it shows: the writer answers instead."""

IDLE_SECONDS = 170
"""A connection that was not used for so long is replaced: the proxy closes it soon (``idle_client_timeout`` of
modules/database), and a loss that nobody tells the client of would cost a socket timeout."""

_TOKEN_LIFETIME_SECONDS = 900
_ENDS = {"BEGIN", "COMMIT", "ROLLBACK"}
_LOST_STATEMENT = {"26000", "42P05"}
_SERVER_GONE = {"57P01", "57P02", "57P03"}
_READ_ONLY = "25006"
"""After a failover a kept connection may lead to a server that is now a replica."""
_LOCKED = "55P03"
"""lock_not_available: https://www.postgresql.org/docs/16/errcodes-appendix.html."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 0.8
_PATIENCE_SECONDS = 8.0
"""As long as a statement may take (db/roles.sql)."""

R = TypeVar("R")


@contextmanager
def _deferred_imports() -> Iterator[None]:
    """While pg8000 is imported, replace its slow imports by stand-ins that load the real module on first use.

    pg8000 imports dateutil (for timestamps outside Python's range), scramp with asn1crypto (for SCRAM log-ins; RDS
    Proxy takes a token) and importlib.metadata (for its own version). They are most of its import time, and requests
    use none of them. The stand-ins are removed from ``sys.modules`` afterwards, so other packages get the real modules.
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
    "Connection", "DatabaseError", "InterfaceError", "LostCommitError", "authentication_token", "connect",
    "connect_reader", "disconnect", "disconnect_reader", "error_code", "has_no_reader_connection", "in_turn", "is_lost",
    "is_timeout", "tls", "verified", "with_connection",
]  # fmt: skip


class LostCommitError(OSError):
    """The connection was lost at COMMIT: nobody knows whether it was committed, so nothing may be repeated."""


class Connection(pg8000.native.Connection):  # type: ignore[misc]
    """pg8000's native connection; a parametrised statement is one round trip and one implicit transaction.

    Attributes:
        is_abandoned: it must not be used any more.
        used_at: when the last statement was sent, in seconds since the epoch.
    """

    is_abandoned = False
    used_at = 0.0
    _begin_is_pending = False
    """BEGIN is to be sent along with the next statement."""
    _after_commit: list[Callable[[], object]] | None = None
    """What to do once the open transaction is committed; None outside of one."""

    def _note_use(self) -> None:
        # The clock of the wall: others may stop while Lambda freezes the instance.
        self.used_at = time.time()

    def handle_ERROR_RESPONSE(self, data: Any, context: Any) -> None:  # noqa: N802 - pg8000's name
        """As pg8000, but without what quotes a row or a value: errors are logged, and addresses must not be.

        Fields: https://www.postgresql.org/docs/16/protocol-error-fields.html. DETAIL (D) names the row; the message (M)
        of a data exception (class 22) quotes the value.
        """
        super().handle_ERROR_RESPONSE(data, context)
        fields = context.error.args[0]
        quoting = {"D", "M"} if fields.get("C", "").startswith("22") else {"D"}
        context.error = DatabaseError({name: text for name, text in fields.items() if name not in quoting})

    def execute_simple(self, statement: str) -> Any:
        """A statement without parameters."""
        self._note_use()
        if self._begin_is_pending:
            self._begin_is_pending = False
            super().execute_simple("BEGIN")
        # A pooler knows the ends of transactions by their words.
        return super().execute_simple(statement if statement in _ENDS else statement + comment())

    def execute_unnamed(self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None) -> Any:
        """Parse, bind, describe, execute and sync in one message; COPY (``stream``) is left to pg8000."""
        self._note_use()
        if self._sock is None:
            raise InterfaceError("connection is closed")
        statement += comment()
        if stream is not None:
            if self._begin_is_pending:
                self._begin_is_pending = False
                super().execute_simple("BEGIN")
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        begins, self._begin_is_pending = self._begin_is_pending, False
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

    @contextmanager
    def transaction(self, *, pipelined: bool = False) -> Iterator[None]:
        """BEGIN … COMMIT around a block; ROLLBACK on any exception; the connection is abandoned where it is lost.

        Inside another transaction the block is a part of that one.

        Args:
            pipelined: send BEGIN along with the first statement, which saves a round trip; without any statement
                nothing is sent.

        Raises:
            DatabaseError: PostgreSQL refused a statement; its fields are in ``args[0]`` (``C`` is the SQLSTATE).
            InterfaceError, OSError: the network failed before COMMIT: nothing was done.
            LostCommitError: the network failed at COMMIT.
        """
        if self._after_commit is not None:
            yield
            return
        actions = self._after_commit = []
        try:
            if pipelined:
                self._begin_is_pending = True
            else:
                self.run("BEGIN")
            yield
            self._commit()
        except BaseException as error:
            self._roll_back(error)
            raise
        finally:
            self._after_commit = None
        for action in actions:
            action()

    def after_commit(self, action: Callable[[], object]) -> None:
        """Do something that must wait until the open transaction's writes are visible; at once if none is open."""
        if self._after_commit is None:
            action()
        else:
            self._after_commit.append(action)

    def _commit(self) -> None:
        if self._begin_is_pending:
            self._begin_is_pending = False
            return
        try:
            self.run("COMMIT")
        except Exception as error:
            if is_lost(error):
                raise LostCommitError(str(error)) from error
            raise

    def _roll_back(self, error: BaseException) -> None:
        if is_lost(error) or not isinstance(error, Exception):
            self.abandon()
        elif self._begin_is_pending:
            self._begin_is_pending = False
        else:
            try:
                self.run("ROLLBACK")
            except Exception:  # noqa: BLE001 - the first error is the one to report
                self.abandon()

    def set_timeout(self, seconds: float) -> None:
        """Set how long the network may be silent while an answer is awaited."""
        if self._usock is not None:
            self._usock.settimeout(seconds)

    def abandon(self) -> None:
        """Close the connection, whatever state it is in; ``connect`` opens another one. A second call does nothing."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        try:
            self.close()
        except (OSError, InterfaceError):
            return


def authentication_token(host: str, port: int, user: str, region: str, now: float | None = None) -> str:
    """An RDS IAM authentication token: a presigned (Signature Version 4) ``connect`` request without its scheme.

    Algorithm: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
    botocore's ``generate_db_auth_token`` does the same (a test compares the two), but takes 0.3 s to import.

    Args:
        host: host name of the proxy, as the client connects to it.
        port: port of the proxy.
        user: database role to log in as.
        region: AWS region of the proxy.
        now: seconds since the epoch; the current time by default.

    Raises:
        KeyError: the environment has no AWS credentials.
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
    """A context that verifies certificates against the system's authorities, or those in ``SSL_CERT_FILE``."""
    return ssl.create_default_context()


_connection: Connection | None = None
"""Kept between invocations. Only ``connect`` and ``disconnect`` use it; other code is given the connection."""

_reader: Connection | None = None
"""As ``_connection``, to a reader."""


def connect() -> Connection:
    """The function's connection: opened once, kept for later invocations, verified TLS, an IAM token as password.

    Raises:
        InterfaceError: the proxy cannot be reached.
        ssl.SSLError: its certificate does not verify.
        DatabaseError: the log-in was refused.
    """
    global _connection  # noqa: PLW0603 - the one thing that outlives an invocation
    settings = configuration()
    _connection = _usable(_connection, settings.database_host, settings.database_port)
    return _connection


def connect_reader() -> Connection:
    """As ``connect``, to the endpoint of the readers, with its short timeout. ``pmp.readers`` alone uses it."""
    global _reader  # noqa: PLW0603 - as above
    settings = configuration()
    host, port = settings.database_reader_host, settings.database_reader_port
    _reader = _usable(_reader, host, port, READER_TIMEOUT_SECONDS)
    _reader.set_timeout(READER_TIMEOUT_SECONDS)
    return _reader


def _usable(
    kept: Connection | None, host: str, port: int, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS
) -> Connection:
    if kept is not None and time.time() - kept.used_at > IDLE_SECONDS:
        kept.abandon()
    if kept is not None and not kept.is_abandoned:
        return kept
    settings = configuration()
    connection = Connection(
        settings.database_user,
        host=host,
        port=port,
        database=settings.database_name,
        password=authentication_token(host, port, settings.database_user, os.environ.get("AWS_REGION", "eu-west-1")),
        ssl_context=tls(),
        timeout=timeout_seconds,
    )
    connection.used_at = time.time()
    return connection


def disconnect() -> None:
    """Abandon the kept connection, if there is one."""
    global _connection
    connection, _connection = _connection, None
    if connection is not None:
        connection.abandon()


def has_no_reader_connection() -> bool:
    """Whether ``connect_reader`` would open a connection."""
    return _reader is None or _reader.is_abandoned


def disconnect_reader() -> None:
    """Abandon the kept connection to a reader, if there is one."""
    global _reader
    connection, _reader = _reader, None
    if connection is not None:
        connection.abandon()


def verified() -> Connection:
    """As ``connect``, and if the kept connection died since the last invocation, a new one. Costs a round trip."""
    connection = connect()
    try:
        connection.run("SELECT 1")
    except Exception as error:
        disconnect()
        if not is_lost(error):
            raise
        connection = connect()
    return connection


def with_connection(work: Callable[[Connection], R]) -> R:
    """Call ``work`` with the connection; once more with a new one if it was lost before COMMIT.

    A kept connection may have died between two requests.

    Args:
        work: reads, or writes in one transaction, so that nothing of a lost first call remains.
    """
    try:
        return work(connect())
    except Exception as error:
        if not is_lost(error) or isinstance(error, LostCommitError):
            raise
    disconnect()
    try:
        return work(connect())
    except Exception as error:
        if is_lost(error):
            disconnect()
        raise


def in_turn(work: Callable[[Connection], R]) -> R:
    """As ``with_connection``, but while another writer has the user's row, give the connection back and come again.

    Whoever waits in the database keeps a connection of the pool, and sixty writers of one user would keep all of them
    from everybody else. So no more than two wait (``pmp.take_turn``), and the others here.

    Args:
        work: one transaction.

    Raises:
        DatabaseError: 55P03: too many others wanted the row for 8 s.
    """
    begun = time.monotonic()
    pause = _PAUSE_SECONDS
    while True:
        try:
            return with_connection(work)
        except DatabaseError as error:
            waited = time.monotonic() - begun
            if error_code(error) != _LOCKED or waited > _PATIENCE_SECONDS:
                raise
        # From the kernel: instances that are copies of one process must not pause in step.
        time.sleep(pause * (0.5 + os.urandom(1)[0] / 510))
        # Longer where many come, and shorter again for those who have waited long, so that newer ones do not pass them.
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS / (1 + waited))


def is_lost(error: BaseException) -> bool:
    """Whether the connection cannot be used after this error: the network's, the pooler's, or a lost statement."""
    if isinstance(error, DatabaseError):
        code = error_code(error)
        if code in _LOST_STATEMENT or code in _SERVER_GONE or code == _READ_ONLY:
            return True
        return code.startswith(("08", "28"))  # connection exception; refused log-in, such as an expired token
    return isinstance(error, (InterfaceError, OSError, struct.error))


def is_timeout(error: BaseException) -> bool:
    """Whether the other side did not answer in time: pg8000 raises its own exception from the socket's."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def error_code(error: DatabaseError) -> str:
    """The SQLSTATE of an error that the server reported, or an empty string."""
    details = error.args[0] if error.args else {}
    return str(details.get("C", "")) if isinstance(details, dict) else ""
