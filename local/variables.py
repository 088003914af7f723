"""The variables that let API clients in any language reach the laptop's API: its address, a token and whom to trust."""

import contextlib
import os
import re
import shlex
import ssl
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from local.instance import Instance
from ops import files

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_JAVA_TRUST = "-Djavax.net.ssl.trustStore="


def export_lines(instance: Instance, url: str, token: str) -> str:
    """Return shell lines that export everything, and write the files that they name.

    Args:
        instance: whose authority is trusted, in addition to what the caller trusts now.
        url: the API's base URL.
        token: a bearer token.
    """
    bundle = _bundle(instance)
    java = shlex.split(os.environ.get("JDK_JAVA_OPTIONS", ""))
    java = [option for option in java if not option.startswith(_JAVA_TRUST)]
    variables = {
        "PMP_URL": url,
        "PMP_TOKEN": token,
        # OpenSSL, Python's ssl and httpx, Go, Ruby, PHP
        "SSL_CERT_FILE": str(bundle),
        # Python's requests and HTTPie
        "REQUESTS_CA_BUNDLE": str(bundle),
        "CURL_CA_BUNDLE": str(bundle),
        # Node adds them to its own
        "NODE_EXTRA_CA_CERTS": str(instance.ca_file),
        # java itself reads this one
        "JDK_JAVA_OPTIONS": " ".join([*map(_java_word, java), _java_word(f"{_JAVA_TRUST}{_java_store(bundle)}")]),
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _bundle(instance: Instance) -> Path:
    """Write a PEM file with the instance's authority and those that the caller trusts; return its path.

    Most of the variables replace a program's authorities: with ours alone, the shell's other connections would fail.
    """
    path = instance.directory / "ca" / "bundle.pem"
    own = instance.ca_file.read_text()
    named = os.environ.get("SSL_CERT_FILE")
    if named == str(path) and path.exists() and path.read_text().startswith(own):
        return path  # evaluated in this shell before: what it trusted then is in the file
    defaults = ssl.get_default_verify_paths()
    candidates = [named if named != str(path) else None, defaults.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"]
    others = next((Path(one).read_text() for one in candidates if one and Path(one).is_file()), "")
    files.replace(path, own + others)
    return path


def _java_store(bundle: Path) -> Path:
    """Write the bundle as the key store that Java trusts; return its path."""
    entries = {}
    for text in _PEM.findall(bundle.read_bytes()):
        # A system may trust certificates that this library will not read, such as one with a negative serial number.
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            one = x509.load_pem_x509_certificate(text)
            name = one.fingerprint(hashes.SHA256()).hex().encode()
            entries[name] = PKCS12Certificate(one, name)
    path = bundle.with_suffix(".p12")
    files.replace(path, serialize_java_truststore(list(entries.values()), NoEncryption()))
    return path


def _java_word(word: str) -> str:
    """Quote as JDK_JAVA_OPTIONS wants it: https://docs.oracle.com/en/java/javase/17/docs/specs/man/java.html."""
    return f'"{word}"' if " " in word else word
