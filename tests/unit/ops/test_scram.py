"""The form in which PostgreSQL keeps a password."""

import base64
import hashlib
import hmac

import pytest

from ops import scram
from ops.errors import UserError


def test_exchange_of_rfc_7677_is_verified_with_the_computed_keys() -> None:
    """The example of RFC 7677, section 3: user "user", password "pencil"."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    found = scram.verifier("pencil", salt, 4096)
    stored_key, server_key = (base64.b64decode(part) for part in found.rpartition("$")[2].split(":"))
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key
    assert base64.b64encode(hmac.digest(server_key, message, "sha256")) == (
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


def test_each_verifier_has_its_own_salt() -> None:
    assert scram.verifier("pencil") != scram.verifier("pencil")
    assert scram.verifier("pencil").startswith("SCRAM-SHA-256$4096:")


@pytest.mark.parametrize("password", ["", "pässword", "two\nlines"])
def test_password_that_would_need_preparation_is_refused_without_being_quoted(password: str) -> None:
    with pytest.raises(UserError, match="empty or not printable ASCII: rotate the passwords") as raised:
        scram.verifier(password)
    assert not password or password not in str(raised.value)
