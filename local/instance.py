"""One running copy of the laptop platform: its name, folder, ports and the environment variables of its tools."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ops import files
from ops.errors import UserError
from ops.settings import LAPTOP_ENVIRONMENT, PROMOTED_ENVIRONMENTS, ROOT

REGION = "eu-west-1"
HOSTED_ZONE_NAME = "pmp.localhost"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_DEFAULT_PORT_BASE = 24500
PORTS_PER_INSTANCE = 40
_FIRST_DOOR_PORT = 3
_FIRST_DATABASE_PORT = 10
_CONSOLE_PORT = 30
_PORT_BASE = "port_base"
_STATE_ROOT = "PMP_STATE_ROOT"


@dataclass(frozen=True)
class Instance:
    """A platform instance. ``port_base`` is the first of its 40 ports, all on loopback."""

    name: str
    port_base: int
    state_root: Path = ROOT / ".pmp"

    @property
    def directory(self) -> Path:
        """Everything this instance keeps; `make down` removes it."""
        return self.state_root / self.name

    @property
    def recorded_port_base(self) -> int | None:
        """The port base that `record_port_base` wrote last, or None if there is none or it cannot be read."""
        try:
            return int((self.directory / _PORT_BASE).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def record_port_base(self) -> None:
        """Store the port base, so that later commands find it."""
        files.replace(self.directory / _PORT_BASE, f"{self.port_base}\n")

    @property
    def aws_port(self) -> int:
        """MiniStack: every AWS endpoint, and the API's custom domains, over TLS."""
        return self.port_base

    @property
    def registry_port(self) -> int:
        """The Terraform module registry."""
        return self.port_base + 1

    @property
    def vendor_list_port(self) -> int:
        """The third-party API's double, over TLS."""
        return self.port_base + 2

    @property
    def console_port(self) -> int:
        """The read-only console, without TLS."""
        return self.port_base + _CONSOLE_PORT

    def postgres_port(self, environment: str) -> int:
        """PostgreSQL of one environment."""
        return self.port_base + _FIRST_DATABASE_PORT + 2 * _port_slots().index(environment)

    def pgbouncer_port(self, environment: str) -> int:
        """PgBouncer of one environment."""
        return self.postgres_port(environment) + 1

    @property
    def doors(self) -> dict[int, str]:
        """Environments by the port of the door to their API, on 127.0.0.1 and ::1, over TLS."""
        return {self.port_base + _FIRST_DOOR_PORT + slot: name for slot, name in enumerate(_port_slots())}

    def door_url(self, environment: str) -> str:
        """Base URL of an environment's API that needs no resolver for ``*.localhost``."""
        return f"https://localhost:{self.port_base + _FIRST_DOOR_PORT + _port_slots().index(environment)}"

    @property
    def aws_url(self) -> str:
        """The AWS endpoint URL: an address, because not every resolver knows ``*.localhost``."""
        return f"https://127.0.0.1:{self.aws_port}"

    @property
    def vendor_list_url(self) -> str:
        """Where the double serves the Global Vendor List."""
        return f"https://localhost:{self.vendor_list_port}/v3/vendor-list.json"

    @property
    def ca_file(self) -> Path:
        """The certificate of this instance's own authority."""
        return self.directory / "ca" / "authority.pem"

    @property
    def logs(self) -> Path:
        """One log per process and phase."""
        return self.directory / "logs"

    @property
    def platform_directory(self) -> Path:
        """The files that tell ``ops`` where the emulated platform is (``PMP_PLATFORM_DIRECTORY``)."""
        return self.directory / "platform"

    @property
    def credentials(self) -> Path:
        """Access keys, one file per identity, readable only by the owner."""
        return self.directory / "credentials"

    @property
    def build(self) -> Path:
        """Terraform's working data, plans and the zip (``PMP_BUILD_DIRECTORY``)."""
        return self.directory / "build"

    @property
    def terraform_configuration(self) -> Path:
        """Terraform's CLI configuration (``TF_CLI_CONFIG_FILE``)."""
        return self.directory / "terraformrc"

    @property
    def iam_record(self) -> Path:
        """The record of every distinct IAM decision by MiniStack, as JSON lines."""
        return self.directory / "iam.jsonl"

    @property
    def request_record(self) -> Path:
        """The record of every distinct AWS request to MiniStack, as JSON lines without secrets."""
        return self.directory / "requests.jsonl"

    def identity(self) -> dict[str, str]:
        """Return the variables from which `of_process` recognizes this instance in one of its processes."""
        return {"PMP_INSTANCE": self.name, "PMP_PORT_BASE": str(self.port_base), _STATE_ROOT: str(self.state_root)}

    def tool_environment(self, environment: str) -> dict[str, str]:
        """Return the variables that a tool needs for this platform and one environment, without credentials."""
        return {
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_CA_BUNDLE": str(self.ca_file),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PMP_INSTANCE": self.name,
            "PMP_ENVIRONMENT": environment,
            "PMP_PLATFORM_DIRECTORY": str(self.platform_directory),
            "PMP_BUILD_DIRECTORY": str(self.build),
            "TF_CLI_CONFIG_FILE": str(self.terraform_configuration),
        }


def _port_slots() -> tuple[str, ...]:
    """Return the environments in the order of their ports; the laptop's own is first, so that its ports never change.

    Raises:
        UserError: there are more environments than an instance has ports for.
    """
    slots = (LAPTOP_ENVIRONMENT, *PROMOTED_ENVIRONMENTS)
    most = min(_FIRST_DATABASE_PORT - _FIRST_DOOR_PORT, (_CONSOLE_PORT - _FIRST_DATABASE_PORT) // 2)
    if len(slots) > most:
        raise UserError(f"envs/environments.json names {len(slots)} environments, but an instance has ports for {most}")
    return slots


def of_process() -> Instance:
    """Return the instance that started this process, from the variables of `Instance.identity`."""
    return Instance(os.environ["PMP_INSTANCE"], int(os.environ["PMP_PORT_BASE"]), Path(os.environ[_STATE_ROOT]))


def clean_environment() -> dict[str, str]:
    """Return the caller's variables without any that would point a tool at real AWS or another Terraform state."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}


def current() -> Instance:
    """Return the instance that ``PMP_INSTANCE`` names (default ``local``).

    Its ports begin at ``PMP_PORT_BASE`` if set, else where they began last time, else at 24500 for ``local`` and at a
    number derived from the name for any other.

    Raises:
        UserError: the name or the port base is not usable.
    """
    name = os.environ.get("PMP_INSTANCE") or "local"
    if not _NAME.fullmatch(name):
        raise UserError(
            f"PMP_INSTANCE={name!r} is not an instance name: use a small letter, then at most 30 small letters, digits "
            "and dashes"
        )
    text = os.environ.get("PMP_PORT_BASE") or str(
        Instance(name, 0, ROOT / ".pmp").recorded_port_base or _default_port_base(name)
    )
    if not text.isdecimal() or not 1024 <= int(text) <= 65535 - PORTS_PER_INSTANCE:
        raise UserError(
            f"PMP_PORT_BASE={text!r} is not a usable port: give a number from 1024 to {65535 - PORTS_PER_INSTANCE}"
        )
    return Instance(name, int(text))


def _default_port_base(name: str) -> int:
    if name == "local":
        return _DEFAULT_PORT_BASE
    # Below the range that Linux uses for outgoing connections (32768 and up).
    slot = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 175
    return 25000 + slot * PORTS_PER_INSTANCE
