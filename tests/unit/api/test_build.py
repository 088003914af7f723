"""The zip is reproducible, pure Python and complete, and contains nothing unused."""

import importlib.util
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("pmp_build", ROOT / "lambda" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = load().build(tmp_path_factory.mktemp("build"))[1]
    return path


@pytest.mark.parametrize("mask", ["077", "000"])
def test_another_checkout_builds_the_same_bytes(bundle: Path, tmp_path: Path, mask: str) -> None:
    """Build in another folder, from newer files with other permissions, in another user's environment."""
    checkout = tmp_path / "another checkout"
    prepare = f"umask {mask}; cp -R {shlex.quote(str(ROOT / 'lambda'))} {shlex.quote(str(checkout))}"
    build = f"{shlex.quote(sys.executable)} {shlex.quote(str(checkout / 'build.py'))} --output out"
    environment = os.environ | {"HOME": str(tmp_path), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": mask}
    command = ["sh", "-c", f"{prepare} && {build}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip()
    assert bundle.name == f"lambda-{digest}.zip"
    assert (tmp_path / "out" / bundle.name).read_bytes() == bundle.read_bytes()
    assert (tmp_path / "out" / "lambda.sha256").read_text() == f"{digest}\n"


def test_unpacked_files_are_those_of_the_zip(bundle: Path, tmp_path: Path) -> None:
    """Terraform's lambda module zips this folder where no pipeline builds."""
    target = tmp_path / "package"
    (target / "of an earlier run").mkdir(parents=True)
    build = [sys.executable, str(ROOT / "lambda/build.py"), "--directory", str(target)]
    command = ["sh", "-c", f"umask 077; {shlex.join(build)}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with zipfile.ZipFile(bundle) as zipped:
        expected = {entry.filename: (entry.external_attr >> 16, zipped.read(entry)) for entry in zipped.infolist()}
    found = {
        path.relative_to(target).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in target.rglob("*")
        if path.is_file()
    }
    assert found == expected
    assert not (target / "of an earlier run").exists()


def test_zip_contains_only_the_pure_python_that_is_used(bundle: Path) -> None:
    names = zipfile.ZipFile(bundle).namelist()
    assert names == sorted(names)
    assert not [name for name in names if name.endswith((".so", ".pyc", ".pyd"))]
    tops = {name.split("/")[0] for name in names}
    assert {"pmp", "pg8000", "urllib3", "email_validator"} <= tops
    assert not {"boto3", "botocore", "dns", "tests", "drf_spectacular_sidecar", "django"} & tops
    # The benchmark's goal is an eighth of the usual alternative's 12 MB.
    assert bundle.stat().st_size < 1_200_000


def test_zip_runs_with_nothing_else_installed(bundle: Path) -> None:
    script = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; sys.path.insert(0, sys.argv[1])\n"
        "from pmp.handler import handler\n"
        "def get(path):\n"
        "    http = {'method': 'GET', 'path': path}\n"
        "    return handler({'requestContext': {'http': http}, 'rawPath': path, 'headers': {}}, None)\n"
        "for path in ['/v1/health', '/v1/openapi.json', '/docs', '/docs/swagger-ui-bundle.js', '/docs/start.js']:\n"
        "    assert get(path)['statusCode'] == 200, get(path)\n"
        "import pmp.vendors, pmp.addresses, urllib3, pkgutil, importlib, pmp\n"
        "for module in pkgutil.walk_packages(pmp.__path__, 'pmp.'):\n"
        "    if not module.name.startswith(('pmp.imports', 'pmp.exports')): importlib.import_module(module.name)\n"
        "print(pmp.addresses.normalize('Grüße@EXAMPLE.com'))\n"
    )
    environment = {"PMP_ENVIRONMENT": "x", "PMP_DATABASE_HOST": "x", "PMP_DATABASE_NAME": "x", "PMP_DATABASE_USER": "x"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(bundle)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Grüße@example.com"


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "fast.cpython-313-aarch64-linux-gnu.so").write_bytes(b"\x7fELF")
    with pytest.raises(SystemExit, match=r"package/fast.*is compiled code, but the zip may contain pure Python only"):
        list(load()._packages(tmp_path))


def test_package_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "wrong.lock"
    lock.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(SystemExit, match=r"uv could not install wrong\.lock"):
        load()._install(lock, tmp_path / "target")
