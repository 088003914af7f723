"""What ``make env`` exports: read by a shell, and whom each program then trusts."""

import shutil
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from local import variables
from local.instance import Instance
from local.servers.certificates import Authority

URL, TOKEN = "https://localhost:24503", "a.b.c"


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    for name in ("SSL_CERT_FILE", "JDK_JAVA_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    instance = Instance("trial", 24500, tmp_path / "a folder")
    instance.directory.mkdir(parents=True)
    Authority(instance.ca_file.parent)
    return instance


def _evaluated(lines: str, name: str) -> str:
    script = f'set -eu\n{lines}\nprintf %s "${name}"'
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout


def _trusted(path: str) -> list[bytes]:
    return ssl.create_default_context(cafile=path).get_ca_certs(binary_form=True)


def test_a_shell_reads_every_variable(trial: Instance) -> None:
    lines = variables.export_lines(trial, URL, TOKEN)
    assert _evaluated(lines, "PMP_URL") == URL
    assert _evaluated(lines, "PMP_TOKEN") == TOKEN
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert set(_trusted(str(trial.ca_file))) <= set(_trusted(_evaluated(lines, name)))


def test_whom_the_shell_trusted_before_is_still_trusted(
    trial: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path / "company").bundle_path
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    bundle = _evaluated(variables.export_lines(trial, URL, TOKEN), "SSL_CERT_FILE")
    assert set(_trusted(bundle)) == {*_trusted(str(other)), *_trusted(str(trial.ca_file))}
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    again = _evaluated(variables.export_lines(trial, URL, TOKEN), "SSL_CERT_FILE")
    assert set(_trusted(str(other))) <= set(_trusted(again))


def test_java_trusts_the_same_and_keeps_its_options(trial: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDK_JAVA_OPTIONS", f"-Xmx64m {variables._JAVA_TRUST}/old.p12")
    lines = variables.export_lines(trial, URL, TOKEN)
    store = trial.directory / "ca" / "bundle.p12"
    assert _evaluated(lines, "JDK_JAVA_OPTIONS") == f'-Xmx64m "{variables._JAVA_TRUST}{store}"'
    with warnings.catch_warnings(action="ignore"):
        stored = pkcs12.load_pkcs12(store.read_bytes(), None).additional_certs
    assert len(stored) == len(_trusted(_evaluated(lines, "SSL_CERT_FILE")))


@pytest.mark.skipif(not shutil.which("keytool"), reason="keytool is not installed")
def test_java_opens_the_store_without_a_password(trial: Instance) -> None:
    variables.export_lines(trial, URL, TOKEN)
    store = trial.directory / "ca" / "bundle.p12"
    command = ["keytool", "-list", "-keystore", str(store), "-storepass", ""]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "trustedCertEntry" in listed
