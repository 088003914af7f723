"""PostgreSQL's form of a password, computed here, so that no statement and no server log holds the password itself.

SCRAM-SHA-256 is RFC 5802 with the hash of RFC 7677. PostgreSQL stores what the server needs for it, and takes
it in place of a password: https://www.postgresql.org/docs/16/catalog-pg-authid.html
"""

import base64
import hashlib
import hmac
import secrets

from ops.errors import UserError

ITERATIONS = 4096
"""PostgreSQL's own number, and the least that RFC 7677 allows."""
_SALT_BYTES = 16


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL stores for ``password``: ``SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>``.

    Args:
        password: printable ASCII, which RFC 4013 (SASLprep) leaves as it is.
        salt: by default 16 random bytes.
        iterations: of PBKDF2.

    Raises:
        UserError: the password is empty or has other characters; the message does not quote it.
    """
    if not password or not (password.isascii() and password.isprintable()):
        raise UserError("a database password in Secrets Manager is empty or not printable ASCII: rotate the passwords")
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server_key = _hmac(salted, b"Server Key")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
