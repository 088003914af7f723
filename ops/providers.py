"""Where Terraform gets providers and modules from: a mirror on this machine, or the registry.

Only the standard library: the installer checks the machine with it before anything is installed.
"""

import http.client
import json
import os
import platform
import sys
import threading
import urllib.request
from functools import lru_cache
from pathlib import Path

from ops.errors import UserError

REGISTRY_HOST = "registry.terraform.io"

_SOURCES = "# "
_DISCOVERY = f"https://{REGISTRY_HOST}/.well-known/terraform.json"
_DISCOVERY_SECONDS = 5


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


@lru_cache
def registry_answers() -> bool:
    """Tell whether the public registry answers Terraform's service discovery; asks once a process.

    https://developer.hashicorp.com/terraform/internals/remote-service-discovery
    """
    # In a thread, because the time-out of a request does not cover the look-up of its name.
    found: list[bool] = []
    asking = threading.Thread(target=lambda: found.append(_discover()), daemon=True)
    asking.start()
    asking.join(_DISCOVERY_SECONDS)
    return found == [True]


def _discover() -> bool:
    try:
        with urllib.request.urlopen(_DISCOVERY, timeout=_DISCOVERY_SECONDS) as answer:
            services = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return isinstance(services, dict) and {"modules.v1", "providers.v1"} <= services.keys()


def described() -> str:
    """Describe where providers come from on this machine.

    Raises:
        UserError: from nowhere; the message names the commands that create a mirror.
    """
    if mirror := find_mirror():
        return f"mirror {mirror}"
    if not registry_answers():
        searched = "\n  ".join(map(str, candidates()))
        raise UserError(
            f"no AWS provider for {machine()}: {REGISTRY_HOST} does not answer, and there is no mirror in\n"
            f"  {searched}\n"
            "Create a mirror on a machine that reaches the registry, copy it here, and name it:\n"
            "  terraform -chdir=envs/service init -backend=false\n"
            "  terraform -chdir=envs/service providers mirror -platform="
            f"{machine()} DIRECTORY\n"
            "  export PMP_PROVIDER_MIRROR=DIRECTORY"
        )
    return f"registry {REGISTRY_HOST}"


def cli_configuration(module_registry: str | None = None, modules: str = f"registry {REGISTRY_HOST}") -> str:
    """Return the text of a Terraform CLI configuration for this machine; its first line says where all comes from.

    Providers come from the mirror, if there is one; from the registry, if there is none, or if nobody named the mirror
    and the registry answers, because the registry's modules need more providers than a mirror that happens to be here
    may hold. Terraform prefers the mirror for versions that both have.

    Args:
        module_registry: URL of a module registry to use in place of registry.terraform.io; None uses the real one. It
            replaces service discovery, so no ``.tf`` file has to change
            (https://developer.hashicorp.com/terraform/internals/remote-service-discovery).
        modules: where the modules come from, for people.
    """
    mirror = find_mirror()
    direct = mirror is None or (not os.environ.get("PMP_PROVIDER_MIRROR") and registry_answers())
    host = ""
    if module_registry:
        services = f'"modules.v1" = "{module_registry.rstrip("/")}/"'
        if direct:
            # The host block replaces all of service discovery, so the provider service must be named again.
            services += f', "providers.v1" = "https://{REGISTRY_HOST}/v1/providers/"'
        host = f'host "{REGISTRY_HOST}" {{\n  services = {{ {services} }}\n}}\n\n'
    methods = [f'filesystem_mirror {{\n    path = "{mirror}"\n  }}'] if mirror else []
    methods += ["direct {}"] if direct else []
    installation = "\n  ".join(methods)
    sources = " and ".join(([f"mirror {mirror}"] if mirror else []) + ([f"registry {REGISTRY_HOST}"] if direct else []))
    first_line = f"{_SOURCES}providers from {sources}; modules from {modules}\n\n"
    return f"{first_line}disable_checkpoint = true\n\n{host}provider_installation {{\n  {installation}\n}}\n"


def modules_are_stand_ins() -> bool:
    """Whether the CLI configuration of this process takes modules from PMP's stand-ins."""
    return configured_sources().endswith("modules from stand-ins")


def configured_sources() -> str:
    """Describe where Terraform takes providers and modules from with the CLI configuration of this process."""
    file = os.environ.get("TF_CLI_CONFIG_FILE")
    if not file:
        return f"providers and modules from registry {REGISTRY_HOST}, unless Terraform's own configuration names others"
    try:
        first_line = Path(file).read_text().partition("\n")[0]
    except OSError as error:
        reason = f"{error.strerror}; unset the variable, or let it name a file"
        raise UserError(f"TF_CLI_CONFIG_FILE={file} cannot be read: {reason}") from error
    if first_line.startswith(_SOURCES):
        return first_line.removeprefix(_SOURCES)
    return f"providers and modules as {file} says"
