"""Where Terraform gets providers and modules from: a mirror on this machine, or the registry.

Only the standard library: the installer checks the machine with it before anything is installed.
"""

import os
import platform
import sys
from pathlib import Path

REGISTRY_HOST = "registry.terraform.io"


def candidates() -> list[Path]:
    """Return directories that may hold providers in Terraform's filesystem-mirror layout, most specific first.

    If ``PMP_PROVIDER_MIRROR`` is set, only that directory; otherwise Terraform's implied local mirror directories
    (https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories),
    then each folder directly under the system's root for optional packages.
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


def machine() -> str:
    """Return this operating system and processor as Terraform names them, for example ``linux_amd64``."""
    processor = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{sys.platform}_{processor}"


def find_mirror() -> Path | None:
    """Return the first candidate that holds the AWS provider for this machine, or None.

    Both layouts of a filesystem mirror are known: unpacked (``<version>/<os>_<arch>/``) and packed
    (``terraform-provider-aws_<version>_<os>_<arch>.zip``, as ``terraform providers mirror`` writes it).
    https://developer.hashicorp.com/terraform/cli/config/config-file#filesystem_mirror
    """
    layouts = (f"*/{machine()}", f"terraform-provider-aws_*_{machine()}.zip")
    for directory in candidates():
        provider = directory / REGISTRY_HOST / "hashicorp/aws"
        if any(any(provider.glob(layout)) for layout in layouts):
            return directory
    return None


def described() -> str:
    """Describe where providers come from on this machine."""
    mirror = find_mirror()
    return f"mirror {mirror}" if mirror else f"registry {REGISTRY_HOST}"


def cli_configuration(mirror: Path | None, registry_url: str | None = None) -> str:
    """Return the text of a Terraform CLI configuration.

    Args:
        mirror: filesystem mirror of the providers; None uses the registry (``direct``).
        registry_url: module registry to use in place of registry.terraform.io; None uses the real one. It replaces
            service discovery, so no ``.tf`` file has to change
            (https://developer.hashicorp.com/terraform/internals/remote-service-discovery).
    """
    host = ""
    if registry_url:
        services = f'"modules.v1" = "{registry_url.rstrip("/")}/"'
        if mirror is None:
            # The host block replaces all of service discovery, so the provider service must be named again.
            services += f', "providers.v1" = "https://{REGISTRY_HOST}/v1/providers/"'
        host = f'host "{REGISTRY_HOST}" {{\n  services = {{ {services} }}\n}}\n\n'
    method = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}' if mirror else "direct {}"
    return f"disable_checkpoint = true\n\n{host}provider_installation {{\n  {method}\n}}\n"
