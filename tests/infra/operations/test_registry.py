"""Providers and modules on a machine with a network, on one with a packed mirror, and on one with neither.

Each case runs in namespaces of its own, in which this machine's provider mirror is hidden.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.tree import copied_tree
from ops import providers
from ops.settings import ROOT
from tests.support import public_registry

# Initializes the service layer as jobs and `make up` do, with the committed lock file, and validates it.
_INITIALIZE = """
import subprocess, sys
from pathlib import Path
from checks.tree import registry
from ops import provider_locks

root = Path(sys.argv[1]) / "envs/service"
# The doubles of the registry, too, serve the stand-ins.
lock = provider_locks.options(root, stand_ins=True)
with registry() as environment:
    for command in (["init", "-input=false", "-no-color", *lock], ["validate", "-no-color"]):
        subprocess.run(["terraform", f"-chdir={root}", *command], env=environment, check=True)
"""


pytestmark = pytest.mark.skipif(
    bool(public_registry.refusal_of_namespaces()), reason=f"no namespaces: {public_registry.refusal_of_namespaces()}"
)


@pytest.fixture(scope="module")
def packed() -> Iterator[Path]:
    """A mirror of the AWS provider in the layout that ``terraform providers mirror`` writes."""
    mirror = providers.find_mirror()
    if mirror is None:
        pytest.skip("this machine has no provider mirror to pack: the real registry serves it already")
    provider = next((mirror / providers.REGISTRY_HOST / "hashicorp/aws").glob(f"*/{providers.machine()}"))
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mirror-", dir=ROOT / "build") as name:
        folder = Path(name) / providers.REGISTRY_HOST / "hashicorp/aws"
        folder.mkdir(parents=True)
        public_registry.pack(provider, folder)
        yield Path(name)


@pytest.fixture
def layers() -> Iterator[Path]:
    """A copy of the tree whose service layer keeps its state in a file."""
    with copied_tree("registry") as tree:
        (tree / "envs/service/override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        yield tree


def _run(
    arguments: list[str], *command: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    hidden = [f"--hide={directory}" for directory in {providers.find_mirror()} if directory]
    inherited = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    return subprocess.run(
        public_registry.namespaced([*arguments, *hidden], command),
        cwd=ROOT,
        env=inherited | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_public_registry_serves_where_it_answers(packed: Path, layers: Path) -> None:
    provider = next(packed.rglob("*.zip"))
    done = _run([f"--provider={provider}"], sys.executable, "-c", _INITIALIZE, str(layers))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Success! The configuration is valid" in done.stdout
    # The provider and each module were asked for where Terraform's service discovery says.
    assert '"GET /.well-known/terraform.json' in done.stderr
    assert f'"GET /provider/{provider.name}' in done.stderr
    for module in ("lambda", "apigateway-v2"):
        assert f'"GET /v1/modules/terraform-aws-modules/{module}/aws/versions' in done.stderr


@pytest.mark.usefixtures("packed")
def test_the_installer_and_the_registry_say_that_the_public_registry_serves(packed: Path) -> None:
    provider = next(packed.rglob("*.zip"))
    says = "from ops import providers; from local.registry.server import source\n"
    says += "print(providers.described()); print(source().description)"
    done = _run([f"--provider={provider}"], sys.executable, "-c", says)
    assert done.stdout.splitlines() == ["registry registry.terraform.io"] * 2, done.stderr


def test_a_packed_mirror_serves_where_the_registry_does_not_answer(packed: Path, layers: Path) -> None:
    environment = {"PMP_PROVIDER_MIRROR": str(packed)}
    done = _run([], sys.executable, "-c", _INITIALIZE, str(layers), environment=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Success! The configuration is valid" in done.stdout


def test_without_mirror_and_registry_the_installer_names_the_commands_that_create_a_mirror() -> None:
    done = _run([], sys.executable, "-m", "local.install")
    assert done.returncode == 1
    assert f"no AWS provider for {providers.machine()}: registry.terraform.io does not answer" in done.stderr
    for command in ("terraform -chdir=envs/service init -backend=false", "providers mirror", "export PMP_PROVIDER"):
        assert command in done.stderr
