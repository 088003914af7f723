"""A certificate authority for the laptop platform: every server speaks TLS, and every client verifies it.

Keys are P-256: the smallest kind that OpenSSL, Go and PostgreSQL's libpq all accept by default.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops import files

_LIFETIME = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)
_CLOCK_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and private key (mode 600), both PEM files."""

    cert_path: Path
    key_path: Path


class Authority:
    """A local certificate authority, kept in one directory and created on first use.

    Args:
        directory: holds the authority's certificate, its key and all issued certificates; created with mode 700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key_path = directory / "authority.key"
        self._certificate = self._load_or_create()

    @property
    def bundle_path(self) -> Path:
        """The PEM file that clients trust (``SSL_CERT_FILE``, ``AWS_CA_BUNDLE``, ``sslrootcert``)."""
        return self.directory / "authority.pem"

    def issue(self, name: str, dns_names: Sequence[str] = (), ip_addresses: Sequence[str] = ()) -> Certificate:
        """Return the certificate called ``name``: the one on disk if it is still usable, else a new one.

        A certificate is usable if this authority issued it, it has exactly these names, and it is valid for another
        month.

        Args:
            name: base of the file names, and the certificate's common name.
            dns_names: DNS names it is valid for.
            ip_addresses: IP addresses it is valid for, as text.

        Raises:
            ValueError: neither a name nor an address is given, or an address is malformed.
        """
        if not dns_names and not ip_addresses:
            raise ValueError(f"certificate {name}: give at least one DNS name or IP address")
        certificate = Certificate(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        names = x509.SubjectAlternativeName(
            [
                *(x509.DNSName(dns_name) for dns_name in dns_names),
                *(x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses),
            ]
        )
        if not self._serves(certificate, names):
            key = ec.generate_private_key(ec.SECP256R1())
            signed = (
                _builder(name, key.public_key())
                .issuer_name(self._certificate.subject)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
                .add_extension(names, critical=False)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key().public_key()), critical=False
                )
                .sign(self._key(), hashes.SHA256())
            )
            _write_key(certificate.key_path, key)
            files.replace(certificate.cert_path, signed.public_bytes(serialization.Encoding.PEM))
        return certificate

    def _load_or_create(self) -> x509.Certificate:
        if self.bundle_path.exists() and self._key_path.exists():
            certificate = x509.load_pem_x509_certificate(self.bundle_path.read_bytes())
            if _is_fresh(certificate):
                return certificate
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder("PMP local certificate authority", key.public_key())
            .issuer_name(_name("PMP local certificate authority"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_KEY_USAGE_AUTHORITY, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(self._key_path, key)
        files.replace(self.bundle_path, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_path} is not an elliptic-curve key: remove {self.directory} and start again")
        return key

    def _serves(self, certificate: Certificate, names: x509.SubjectAlternativeName) -> bool:
        if not certificate.cert_path.exists() or not certificate.key_path.exists():
            return False
        found = x509.load_pem_x509_certificate(certificate.cert_path.read_bytes())
        try:
            found.verify_directly_issued_by(self._certificate)
        except (InvalidSignature, ValueError):
            return False
        return _is_fresh(found) and found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names


_KEY_USAGE_AUTHORITY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _is_fresh(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    files.replace(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        mode=0o600,
    )
