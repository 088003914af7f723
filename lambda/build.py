"""Build the Lambda's zip: the same bytes from the same sources on any machine.

    python lambda/build.py [--output build]

writes ``build/lambda-<sha256>.zip`` and ``build/lambda.sha256``, and prints the digest. It installs the locked packages
with uv (each hash is checked), keeps the files that the function uses, and refuses packages that are not pure Python.

    python lambda/build.py --directory build/package

writes the same files into a folder instead, which Terraform's lambda module zips where no pipeline does.
"""

import argparse
import base64
import fnmatch
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can store; every entry gets it."""

FILE_MODE = 0o644
"""Mode of every file, in the zip and unpacked."""

LEFT_OUT = [
    "*.dist-info/*",
    "*.pyc",
    ".lock",
    "bin/*",
    "*/__pycache__/*",
    "*/py.typed",
    "*.pyi",
    "*/tests/*",
    "dateutil/zoneinfo/*.tar.gz",  # time zones by name: the runtime's botocore and pg8000 only use offsets
    "dns/*",  # email addresses are checked without look-ups
    "urllib3/contrib/*",
    "urllib3/http2/*",
    "email_validator/__main__.py",
]
KEPT = ["*.dist-info/licenses/*", "*.dist-info/LICENSE*", "pg8000-*.dist-info/METADATA", "urllib3/contrib/__init__.py",
        "urllib3/contrib/socks.py", "urllib3/http2/__init__.py", "urllib3/http2/probe.py"]  # fmt: skip
LEFT_OUT_ANYWAY = ["dnspython-*", "*.dist-info/licenses/AUTHORS*"]

VIEWER = "drf_spectacular_sidecar/static/drf_spectacular_sidecar/swagger-ui-dist"
VIEWER_FILES = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "LICENSE"]


def _install(lock: Path, target: Path, *options: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    beside = [Path(sys.executable).with_name("uv"), HERE.parent / ".venv/bin/uv"]
    program = next((str(path) for path in beside if path.exists()), "uv")
    command = [program, "pip", "install", "--quiet", "--require-hashes"]
    command += ["--no-compile-bytecode", "--link-mode", "copy", "--only-binary", ":all:"]
    command += ["--python-version", "3.13", "--python-platform", "aarch64-manylinux2014"]
    command += ["--target", str(target), "-r", str(lock), *options]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit("uv is not installed; run `make up`, or install it and add it to PATH") from None
    if done.returncode:
        raise SystemExit(f"uv could not install {lock.name}: {done.stderr.strip()}")


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _packages(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not path.is_file() or _matches(name, LEFT_OUT_ANYWAY):
            continue
        if path.suffix in {".so", ".pyd", ".dll", ".dylib"}:
            raise SystemExit(
                f"{name} is compiled code, but the zip may contain pure Python only; choose another package"
            )
        if _matches(name, KEPT) or not _matches(name, LEFT_OUT):
            content = path.read_bytes()
            # pg8000 reads its own version there; its manual follows the first empty line.
            yield name, content.partition(b"\n\n")[0] + b"\n" if path.name == "METADATA" else content


def _own(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((directory / "pmp").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(directory).as_posix(), path.read_bytes()


def _viewer(directory: Path) -> Iterator[tuple[str, bytes]]:
    for name in VIEWER_FILES:
        path = directory / VIEWER / name
        if path.exists():
            yield f"pmp/http/viewer/{name}", path.read_bytes()
        elif name != "LICENSE":
            raise SystemExit(f"{name} is missing from the viewer's package; check lambda/viewer.lock")


def archive(entries: list[tuple[str, bytes]], target: Path) -> None:
    """Write a zip of the entries: sorted by name, one fixed time and mode, deflated at level 9."""
    with zipfile.ZipFile(target, "w") as bundle:
        for name, content in sorted(entries):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | FILE_MODE) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, content, compresslevel=9)


def files() -> list[tuple[str, bytes]]:
    """Return all files of the package: names relative to its root, and contents.

    Raises:
        SystemExit: uv is missing, or a package cannot be installed or is not pure Python.
    """
    with tempfile.TemporaryDirectory(prefix="pmp-build-") as temporary:
        packages, viewer = Path(temporary, "packages"), Path(temporary, "viewer")
        _install(HERE / "requirements.lock", packages)
        _install(HERE / "viewer.lock", viewer, "--no-deps")
        return [*_packages(packages), *_own(HERE), *_viewer(viewer)]


def unpack(entries: list[tuple[str, bytes]], directory: Path) -> None:
    """Write the files into a folder, with the modes that they have in the zip; what was there is removed."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, content in entries:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(FILE_MODE)


def build(output: Path) -> tuple[str, Path]:
    """Build the zip in the folder ``output``.

    Returns:
        The zip's SHA-256 in hexadecimal, and its path.

    Raises:
        SystemExit: as ``files``, or this Python uses zlib-ng.
    """
    if "ng" in zlib.ZLIB_RUNTIME_VERSION:
        raise SystemExit(
            f"this Python compresses with zlib-ng ({zlib.ZLIB_RUNTIME_VERSION}), whose output differs from zlib's; "
            "build with a Python that is linked to zlib, such as the one in the pipeline's image"
        )
    entries = files()
    output.mkdir(parents=True, exist_ok=True)
    unnamed = output / f".lambda-{os.getpid()}.zip"
    archive(entries, unnamed)
    digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    target = output / f"lambda-{digest}.zip"
    unnamed.replace(target)
    (output / "lambda.sha256").write_text(f"{digest}\n")
    return digest, target


def main() -> None:
    """Build; print the digest on standard output (for scripts) and everything else on standard error."""
    parser = argparse.ArgumentParser(description="Build the Lambda's zip, reproducibly.")
    parser.add_argument("--output", type=Path, default=HERE.parent / "build", help="folder to write (default: build)")
    parser.add_argument("--directory", type=Path, help="write the files into this folder instead of a zip; replaced")
    arguments = parser.parse_args()
    if arguments.directory:
        unpack(files(), arguments.directory)
        return
    digest, path = build(arguments.output)
    terraform_digest = base64.b64encode(bytes.fromhex(digest)).decode()
    print(f"{path} ({path.stat().st_size:,} bytes; base64 digest {terraform_digest})", file=sys.stderr)
    print(digest)


if __name__ == "__main__":
    main()
