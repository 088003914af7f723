"""Find the directory that holds the Terraform providers on this machine, and tell Terraform about it."""

import os
import platform
import sys
from pathlib import Path

REGISTRY_HOST = "registry.terraform.io"


class ProviderMirrorNotFoundError(Exception):
    """No directory on this machine holds providers in Terraform's filesystem-mirror layout."""


def candidates() -> list[Path]:
    """Directories that may hold ``registry.terraform.io/<namespace>/<type>/<version>/``, most specific first.

    ``PMP_PROVIDER_MIRROR``, then Terraform's implied local mirror directories
    (https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories),
    then each folder one level under the system's root for optional packages.
    """
    named = os.environ.get("PMP_PROVIDER_MIRROR")
    if named:
        return [Path(named)]
    home = Path.home()
    data_directories = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    implied = [
        Path.cwd() / "terraform.d/plugins",
        home / ".terraform.d/plugins",
        Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "terraform/plugins",
        *(Path(directory) / "terraform/plugins" for directory in data_directories if directory),
    ]
    optional_packages = Path("/opt")
    return implied + sorted(path for path in optional_packages.glob("*") if path.is_dir())


def find_mirror() -> Path:
    """The first candidate that holds the AWS provider for this operating system and processor.

    Raises:
        ProviderMirrorNotFoundError: none does; the message says what to do.
    """
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    target = f"{sys.platform}_{machine}"
    for directory in candidates():
        if any((directory / REGISTRY_HOST).glob(f"hashicorp/aws/*/{target}")):
            return directory
    searched = ", ".join(str(path) for path in candidates())
    raise ProviderMirrorNotFoundError(
        f"no AWS provider for {target} in any of: {searched}. Set PMP_PROVIDER_MIRROR to a directory made by "
        "'terraform providers mirror' on a machine that reaches the registry."
    )


def cli_configuration(mirror: Path, registry_url: str) -> str:
    """Text of a Terraform CLI configuration: modules from ``registry_url``, providers from ``mirror``.

    The ``host`` block replaces service discovery of registry.terraform.io, so no ``.tf`` file has to change
    (https://developer.hashicorp.com/terraform/internals/remote-service-discovery).
    """
    return f"""\
disable_checkpoint = true

host "{REGISTRY_HOST}" {{
  services = {{ "modules.v1" = "{registry_url.rstrip("/")}/" }}
}}

provider_installation {{
  filesystem_mirror {{
    path = "{mirror}"
  }}
}}
"""
