"""Plan, apply and destroy one layer in one environment."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci import artifacts, aws, clients, plans
from ci.errors import CommandError
from ci.output import say, step
from ci.settings import Target, release
from ci.terraform import Terraform


@dataclass(frozen=True)
class Version:
    """What runs in the service layer: the commit, and the SHA-256 of the function's zip in hexadecimal."""

    release: str
    code_sha256: str

    @classmethod
    def built(cls) -> "Version":
        """This commit, with the zip that `package` built.

        Raises:
            CommandError: there is no zip.
        """
        return cls(release(), artifacts.built_digest())

    @classmethod
    def deployed(cls, environment: str) -> "Version":
        """What the environment runs now.

        Raises:
            CommandError: nothing is deployed there.
        """
        prefix = f"/pmp/{environment}/service"
        return cls(aws.parameter(f"{prefix}/release"), aws.parameter(f"{prefix}/code_sha256"))

    def variables(self) -> dict[str, str]:
        """As Terraform variables."""
        return {"release": self.release, "code_sha256": self.code_sha256}


def plan(
    target: Target,
    directory: Path,
    *,
    version: Version | None = None,
    refuse_changes: bool = False,
    destroy: bool = False,
) -> bool:
    """Plan a layer into ``directory``, without the state's lock: whoever plans need not be able to write it.

    What was planned on a state that changed meanwhile is refused when it is applied.

    Args:
        target: what to plan.
        directory: where the plan and what is said about it go; what was there is replaced.
        version: for the layer service; this commit and its zip by default.
        refuse_changes: fail when anything would change, but for known gaps of an emulated platform.
        destroy: plan the end of the layer.

    Returns:
        Whether applying the plan would change anything.

    Raises:
        CommandError: Terraform failed, the plan would destroy what is protected, or changes are refused.
    """
    terraform = Terraform(target)
    directory.mkdir(parents=True, exist_ok=True)
    for name in (plans.PLAN, plans.DOCUMENT, plans.TEXT, plans.REPORT, plans.ORIGIN):
        (directory / name).unlink(missing_ok=True)
    variables = {}
    if target.layer == "service":
        variables = (version or Version.built()).variables()
        clients.ensure_for_smoke(target.environment)
    terraform.init()
    saved = directory / plans.PLAN
    has_changes = terraform.plan(saved, variables, destroy=destroy)
    # The plan holds every value in clear: no other user of this machine may read it.
    saved.chmod(0o600)
    document = terraform.show_json(saved)
    found = plans.changes(document)
    origin = plans.Origin(target.layer, target.environment, release(), plans.sha256(saved))
    plans.save(directory, origin, document, terraform.show_text(saved))
    for change in found:
        say(f"  {change}")
    try:
        plans.refuse_destruction(found)
        if refuse_changes:
            _refuse_changes(target, found, has_changes=has_changes)
    except CommandError:
        saved.unlink()  # what is refused must not be applied by another hand
        raise
    say(f"plan {target}: {plans.summary(found, document)}", "bold")
    return has_changes


def _refuse_changes(target: Target, found: list[plans.Change], *, has_changes: bool) -> None:
    unexplained = plans.unexplained(found)
    if unexplained:
        listed = ", ".join(map(str, unexplained))
        raise CommandError(f"{target} is not as its code says, this would change: {listed}")
    if has_changes and not found:
        raise CommandError(f"{target} is not as its code says: outputs would change, see {plans.TEXT}")


def apply(target: Target, directory: Path) -> None:
    """Apply the plan saved in ``directory``, then remove it.

    Raises:
        CommandError: the plan is of another layer, environment or commit, or Terraform failed.
    """
    # A laptop deploys its working tree, whose HEAD may move meanwhile; a pipeline is of one commit.
    saved = plans.require_plan(directory, target, os.environ.get("CI_COMMIT_SHA", ""))
    terraform = Terraform(target)
    terraform.init()
    document = terraform.show_json(saved)
    if target.environment:
        plans.refuse_other_environment(document, target)
    terraform.apply(saved)
    saved.unlink()
    say(f"apply {target}: {plans.summary(plans.changes(document), document)}: done", "bold")


def destroy(target: Target) -> None:
    """Destroy everything in a layer.

    Raises:
        CommandError: the layer holds what is protected and was not named, or Terraform failed.
    """
    directory = target.plan_directory.with_name(f"{target.name}-destroy")
    # A half-made layer may not say what it runs, and to destroy it the answer does not matter.
    version = Version(release(), "0" * 64) if target.layer == "service" else None
    if plan(target, directory, version=version, destroy=True):
        apply(target, directory)


def rollback(environment: str, digest: str) -> None:
    """Run an earlier zip again.

    Raises:
        CommandError: the deployment bucket has no such zip, or Terraform failed.
    """
    target = Target.of("service", environment)
    version = Version(artifacts.published_release(digest), digest)
    say(f"rollback of {environment} to lambda/{digest[:12]}… of commit {version.release[:12]}")
    directory = target.plan_directory.with_name(f"{target.name}-rollback")
    if plan(target, directory, version=version):
        apply(target, directory)


def drift(targets: Sequence[Target]) -> None:
    """Compare what runs with what its code says, without holding anybody up.

    Raises:
        CommandError: something differs; the message lists every layer's differences.
    """
    differences = []
    for target in targets:
        version = Version.deployed(target.environment) if target.layer == "service" else None
        directory = target.plan_directory.with_name(f"{target.name}-drift")
        try:
            plan(target, directory, version=version, refuse_changes=True)
        except CommandError as error:
            differences.append(str(error))
    if differences:
        raise CommandError("; ".join(differences))
    say(f"drift: none in {', '.join(map(str, targets))}")


def unlock(target: Target, minimum_minutes: float) -> None:
    """Release a state lock that a killed run left behind.

    Args:
        target: whose state.
        minimum_minutes: a younger lock is taken for one in use.

    Raises:
        CommandError: the lock is too young.
    """
    from ci.locks import read_lock

    lock = read_lock(target)
    if lock is None:
        say(f"unlock {target}: no lock, nothing to do")
        return
    say(f"{target} is locked by {lock.who} since {lock.created:%Y-%m-%d %H:%M:%S} UTC ({lock.operation})")
    if lock.age_minutes < minimum_minutes:
        raise CommandError(
            f"the lock of {target} is {lock.age_minutes:.0f} minutes old, its run may still be at work: wait, or give "
            f"--older-than 0 if you know that it is dead"
        )
    terraform = Terraform(target)
    with step(f"force-unlock {lock.identifier}"):
        terraform.init()
        terraform.force_unlock(lock.identifier)
    say(f"unlock {target}: released")
