"""Plan, apply and destroy one layer in one environment."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ops import artifacts, aws, clients, plans, promotions, quotas
from ops.alias import Alias
from ops.errors import UserError
from ops.output import say, step
from ops.settings import Target, release
from ops.terraform import Terraform, TerraformError


@dataclass(frozen=True)
class Version:
    """A version of the service layer: the commit, and the SHA-256 of the function's zip in hexadecimal.

    The digest is ``unknown`` where Terraform packaged the function itself, and where it will.
    """

    release: str
    code_sha256: str

    @classmethod
    def built(cls) -> "Version":
        """Return this commit with the zip that `package` built.

        Raises:
            UserError: no zip was built.
        """
        return cls(release(), artifacts.built_digest())

    @classmethod
    def deployed(cls, environment: str) -> "Version":
        """Return the version that the environment runs now.

        Raises:
            UserError: nothing is deployed there.
        """
        prefix = f"/pmp/{environment}/service"
        return cls(aws.parameter(f"{prefix}/release"), aws.parameter(f"{prefix}/code_sha256"))

    @classmethod
    def deployed_or_none(cls, environment: str) -> "Version | None":
        """Return the version that the environment runs now, or None if nothing is deployed there."""
        exists = aws.parameter_or_none(f"/pmp/{environment}/service/release") is not None
        return cls.deployed(environment) if exists else None

    def variables(self) -> dict[str, str]:
        """Return the version as Terraform variables."""
        digest = {} if self.code_sha256 == "unknown" else {"code_sha256": self.code_sha256}
        return {"release": self.release, **digest}


def plan(
    target: Target,
    directory: Path,
    *,
    version: Version | None = None,
    refuse_changes: bool = False,
    destroy: bool = False,
    read_only: bool = False,
    show: bool = False,
) -> bool:
    """Plan a layer into ``directory``, without the state's lock: whoever plans need not be able to write it.

    What was planned on a state that changed meanwhile is refused when it is applied.

    Args:
        target: what to plan.
        directory: where the plan and what is said about it go; what was there is replaced.
        version: for the layer service; this commit and its zip by default.
        refuse_changes: fail when anything would change, but for known gaps of an emulated platform.
        destroy: plan the end of the layer.
        read_only: plan as an identity that changes nothing. A layer that does not exist yet is not planned: its state
            would have to be created first. The service's plan cannot be applied, because it names other roles.
        show: print the whole plan.

    Returns:
        Whether applying the plan would change anything.

    Raises:
        UserError: Terraform failed, the plan would destroy a protected resource, needs more than the account's quotas
            allow, or changes are refused.
    """
    terraform = Terraform(target)
    directory.mkdir(parents=True, exist_ok=True)
    for name in (plans.PLAN, plans.DOCUMENT, plans.TEXT, plans.REPORT, plans.ORIGIN):
        (directory / name).unlink(missing_ok=True)
    terraform.init(create=not read_only)
    if not terraform.exists:
        plans.save_reason(directory, plans.DOES_NOT_EXIST)
        say(
            f"plan {target}: does not exist yet, its first deployment will create everything; nothing to compare",
            "bold",
        )
        return False
    variables = {}
    if target.layer == "service":
        variables = (version or Version.built()).variables()
        if read_only:
            variables["read_only"] = "true"
        else:
            clients.ensure_for_smoke(target.environment)
    saved = directory / plans.PLAN
    has_changes = terraform.plan(saved, variables, destroy=destroy)
    # The plan holds every value in clear: no other user of this machine may read it.
    saved.chmod(0o600)
    # Each of the two starts every provider, to ask for its schema.
    with ThreadPoolExecutor() as pool:
        text = pool.submit(terraform.show_text, saved)
        document = terraform.show_json(saved)
    found = plans.changes(document)
    only_to_look_at = read_only and target.layer == "service"
    origin = plans.Origin(target.layer, target.environment, release(), plans.sha256(saved), only_to_look_at)
    plans.save(directory, origin, document, text.result())
    if show:
        say(text.result())
    for change in found:
        say(f"  {change}")
    try:
        plans.refuse_destruction(found)
        quotas.require(document)
        if refuse_changes:
            _refuse_changes(target, found, has_changes=has_changes)
    except UserError:
        saved.unlink()  # a refused plan must never be applied
        raise
    for sentence in plans.immediate(found):
        say(f"warning: {sentence}", "yellow")
    if not (refuse_changes or read_only):
        quotas.announce(target, document)
    say(f"plan {target}: {plans.summary(found, document)}", "bold")
    return has_changes


def preview(environment: str, service_directory: Path | None = None) -> None:
    """Plan both layers as an identity that only plans, and print the plans.

    A service that needs what the foundation only gets by this commit cannot be planned before; that is said, too.

    Args:
        environment: name, such as ``prod``.
        service_directory: folder for the service's plan, by default the usual one.

    Raises:
        UserError: Terraform failed, or a plan is refused.
    """
    foundation, service = Target.of("foundation", environment), Target.of("service", environment)
    has_changes = plan(foundation, foundation.plan_directory, read_only=True, show=True)
    directory = service_directory or service.plan_directory
    try:
        plan(service, directory, read_only=True, show=True)
    except TerraformError as error:
        if not has_changes:
            raise
        plans.save_reason(directory, plans.NEEDS_FOUNDATION)
        say(f"plan {service}: cannot be made before the foundation is applied ({error})", "yellow")


def _refuse_changes(target: Target, found: list[plans.Change], *, has_changes: bool) -> None:
    unexplained = plans.unexplained(found)
    if unexplained:
        listed = ", ".join(map(str, unexplained))
        raise UserError(f"{target} differs from its code, an apply would change: {listed}")
    if has_changes and not found:
        raise UserError(f"{target} differs from its code: outputs would change, see {plans.TEXT}")


def apply(target: Target, directory: Path, *, promotes: bool = True, just_planned: bool = False) -> None:
    """Apply the plan saved in ``directory``, then remove it.

    A layer that did not exist when it was to be planned is planned now.

    Args:
        target: what to apply.
        directory: where `plan` saved the plan.
        promotes: whether a pipeline makes its commit the environment's newest, and so is refused if it is older.
        just_planned: `plan` ran on this machine a moment ago, so Terraform is initialised and the plan's document is
            its own. Only on an emulator: elsewhere the plan itself is read, whatever its accompanying files say.

    Raises:
        UserError: the plan belongs to another layer, environment or commit, needs more than the account's quotas allow,
            a newer commit was deployed, or Terraform failed.
    """
    if plans.is_absence(directory):
        _plan_creation(target, directory)
    # A laptop deploys its working tree, whose HEAD may move meanwhile; a pipeline deploys a fixed commit.
    commit = os.environ.get("CI_COMMIT_SHA", "")
    saved = plans.require_plan(directory, target, commit)
    terraform = Terraform(target)
    if just_planned and aws.is_emulated():
        document = plans.saved_document(directory)
    else:
        terraform.init()
        document = terraform.show_json(saved)
    if target.environment:
        plans.refuse_other_environment(document, target)
    # A destruction deploys no code: its digest is all zeros.
    if target.layer == "service" and (digest := plans.variable(document, "code_sha256")).strip("0"):
        artifacts.verify_published(digest)
    # Something else may have taken the room since the plan.
    quotas.require(document)
    if commit and promotes:
        promotions.claim(target, commit)
    terraform.apply(saved)
    saved.unlink()
    say(f"apply {target}: {plans.summary(plans.changes(document), document)}: done", "bold")


def _plan_creation(target: Target, directory: Path) -> None:
    say(f"{target} did not exist when it was to be shown: planning it now")
    plan(target, directory)
    document = plans.saved_document(directory)
    if changed := [str(one) for one in plans.changes(document) if one.actions != ("create",)]:
        (directory / plans.PLAN).unlink()
        raise UserError(
            f"{target} did not exist when its creation was approved, but now it does: the plan would change "
            f"{', '.join(changed)}; start again with the job that shows the plan"
        )


def confirm(target: Target, preview: Path, directory: Path) -> None:
    """Let the saved plan pass if it does what was shown at the gate; otherwise show it, and pass when asked again.

    Args:
        target: what was planned.
        preview: folder of the plan that was shown. A layer that did not exist then may create everything, and no more.
        directory: folder of the plan that is to be applied.

    Raises:
        UserError: the plan does something else, and this is the first time that it is shown in this pipeline.
    """
    document = plans.saved_document(directory)
    now = plans.effects(document)
    if plans.is_absence(preview):
        other = sorted(str(one) for one in plans.changes(document) if one.actions != ("create",))
    else:
        is_shown = (preview / plans.DOCUMENT).exists()
        shown = plans.effects(plans.saved_document(preview)) if is_shown else {}
        other = sorted(name for name in now.keys() | shown.keys() if now.get(name) != shown.get(name))
    if not other:
        say(f"confirm {target}: the plan does what was shown at the gate", "bold")
        return
    say((directory / plans.TEXT).read_text())
    say(f"different from what was shown at the gate: {', '.join(other)}", "yellow")
    if not promotions.approved(target, now):
        raise UserError(
            f"the plan of {target} is not the one that was shown at the gate: read it above, and if it is right, run "
            "this job again to approve it"
        )
    say(f"confirm {target}: approved, because the job was run again", "bold")


def destroy(target: Target) -> None:
    """Destroy everything in a layer.

    Raises:
        UserError: the layer holds a protected resource that ``PMP_ALLOW_DESTROY`` does not name, or Terraform failed.
    """
    directory = target.plan_directory.with_name(f"{target.name}-destroy")
    # A partly created layer may not record its version, and its destruction does not depend on the version.
    version = Version(release(), "0" * 64) if target.layer == "service" else None
    if plan(target, directory, version=version, destroy=True):
        apply(target, directory, promotes=False)
    promotions.forget(target)


def rollback(environment: str, digest: str) -> None:
    """Deploy an earlier zip again, and give it all requests at once: it has served before.

    Raises:
        UserError: the deployment bucket has no such zip, or Terraform failed.
    """
    target = Target.of("service", environment)
    version = Version(artifacts.published_release(digest), digest)
    say(f"rollback of {environment} to lambda/{digest[:12]}… of commit {version.release[:12]}")
    directory = target.plan_directory.with_name(f"{target.name}-rollback")
    if plan(target, directory, version=version):
        apply(target, directory, promotes=False)
    alias = Alias.of(environment)
    alias.give_all()
    say(f"rollback of {environment}: version {alias.serving()} of the function serves all requests", "bold")


def drift(targets: Sequence[Target]) -> None:
    """Compare deployed layers with their code, without taking the state lock.

    Raises:
        UserError: something differs; the message lists every layer's differences.
    """
    differences = []
    for target in targets:
        version = Version.deployed_or_none(target.environment) if target.layer == "service" else None
        directory = target.plan_directory.with_name(f"{target.name}-drift")
        try:
            plan(target, directory, version=version, refuse_changes=True, read_only=True)
        except UserError as error:
            differences.append(str(error))
    if differences:
        raise UserError("; ".join(differences))
    say(f"drift: none in {', '.join(map(str, targets))}")


def unlock(target: Target, minimum_minutes: float) -> None:
    """Release a state lock that a killed run left.

    Args:
        target: the layer and environment whose state is locked.
        minimum_minutes: a younger lock is assumed to be in use.

    Raises:
        UserError: the lock is too young.
    """
    from ops.locks import read_lock

    lock = read_lock(target)
    if lock is None:
        say(f"unlock {target}: no lock, nothing to do")
        return
    say(f"{target} is locked by {lock.who} since {lock.created:%Y-%m-%d %H:%M:%S} UTC ({lock.operation})")
    if lock.age_minutes < minimum_minutes:
        raise UserError(
            f"the lock of {target} is {lock.age_minutes:.0f} minutes old, its run may still be active: wait, or pass "
            "--older-than 0 if you know that the run is dead"
        )
    terraform = Terraform(target)
    with step(f"force-unlock {lock.identifier}"):
        terraform.init()
        terraform.force_unlock(lock.identifier)
    say(f"unlock {target}: released")
