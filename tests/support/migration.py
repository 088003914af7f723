"""The migration job against a stack's database, with fake answers from Secrets Manager."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.stack import Stack
from ops import migrate

STAMP = "2030-01-01T00:00:00Z PMP <pmp@example.com>"
PASSWORDS = {"master": "the master's", "migrator": "the \\ migrator's", "app": "abcdefghijklmnopqrstuvwxyz012345"}


class Secrets:
    """Secrets Manager as far as the job uses it: versions and their stages, by secret."""

    def __init__(self) -> None:
        self.texts: dict[str, dict[str, str]] = {}
        self.stages: dict[str, dict[str, str]] = {}

    def put_secret_value(self, **request: Any) -> None:
        secret = request["SecretId"]
        version = f"v{len(self.texts.setdefault(secret, {}))}"
        self.texts[secret][version] = request["SecretString"]
        self.stages.setdefault(secret, {}).update(dict.fromkeys(request["VersionStages"], version))

    def get_secret_value(self, **request: Any) -> dict[str, str]:
        secret = request["SecretId"]
        version = self.stages[secret][request.get("VersionStage", "AWSCURRENT")]
        return {"SecretString": self.texts[secret][version]}

    def describe_secret(self, **request: Any) -> dict[str, Any]:
        found: dict[str, list[str]] = {}
        for stage, version in self.stages.get(request["SecretId"], {}).items():
            found.setdefault(version, []).append(stage)
        # AWS leaves the member out where there is no version.
        return {"VersionIdsToStages": found} if found else {}

    def update_secret_version_stage(self, **request: Any) -> None:
        stages, stage = self.stages[request["SecretId"]], request["VersionStage"]
        assert stages.get(stage) == request.get("RemoveFromVersionId"), "AWS wants to know where the stage is now"
        if "MoveToVersionId" in request:
            stages[stage] = request["MoveToVersionId"]
        else:
            del stages[stage]

    def password(self, name: str) -> str:
        return str(json.loads(self.get_secret_value(SecretId=name)["SecretString"])["password"])


@dataclass
class Job:
    """The migration job on a deployed database, with a copy of the schema's folder."""

    stack: Stack
    directory: Path
    secrets: Secrets

    def run(self, *, rotate: bool = False, minutes: float = 1, most_active: int = 100) -> None:
        migration = migrate.Migration("dev", rotate=rotate)
        migration.define_roles()
        migration.keep_passwords()
        migration.check()
        migrate.deploy(migration, minutes, most_active)

    def add(
        self,
        name: str,
        deploy: str,
        verify: str = "SELECT 1 / (true)::int;",
        revert: str = "",
        note: str = "Test",
        *,
        in_transaction: bool = True,
    ) -> None:
        form = "BEGIN;\n{}\nCOMMIT;\n" if in_transaction else "{}\n"
        with (self.directory / "sqitch.plan").open("a") as plan:
            plan.write(f"{name} {STAMP} # {note}\n")
        for kind, script in {"deploy": deploy, "verify": verify, "revert": revert or "SELECT 1;"}.items():
            (self.directory / kind / f"{name}.sql").write_text(form.format(script))

    def schema(self) -> str:
        """Return pg_dump's output for the schema, and Sqitch's records."""
        home = self.stack.cluster.home
        socket = ["--host", str(home.directory), "--port", str(self.stack.cluster.port), "--username", "postgres"]
        dump = home.run(["pg_dump", "--schema-only", "--schema", "pmp", *socket, "--dbname", "pmp"])
        # Newer minor releases of pg_dump write random keys in these lines, against injection.
        lines = [line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
        return "\n".join(lines) + self.stack.cluster.psql("SELECT change_id, change FROM sqitch.changes ORDER BY 1")
