"""Commands for pipeline jobs, operators and laptops. The ``AWS_*`` variables select the account and identity."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from ops import (
    artifacts,
    aws,
    bootstrap,
    canary,
    client_libraries,
    clients,
    compatibility,
    costs,
    dashboard,
    doctor,
    holds,
    images,
    import_file,
    keys,
    layers,
    logs,
    migrate,
    migrations,
    note,
    policies,
    provider_locks,
    release,
    releases,
    replay,
    site,
    sizing,
    smoke,
    token_keys,
)
from ops.api import Api
from ops.errors import run_command
from ops.output import say
from ops.settings import ENVIRONMENTS, PROMOTED_LAYERS, ROOT, Target, require_environment

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Environment = Annotated[
    str | None, typer.Option("--environment", envvar="PMP_ENVIRONMENT", help=", ".join(ENVIRONMENTS))
]
Layer = Annotated[str, typer.Argument(help="account, foundation or service")]

_LAYERS, _RELEASE, _ACCESS, _REPORTS, _OPERATION = "Layers", "Release", "Access", "Reports", "Operation"


# -- layers ------------------------------------------------------------------------------------------------------------


@application.command("bootstrap", rich_help_panel=_LAYERS)
def bootstrap_command(
    administrator_arn: Annotated[
        list[str] | None,
        typer.Option(help="a role or user that applies the account layer, repeatable; the first time: yourself"),
    ] = None,
    reader_account: Annotated[
        list[str] | None,
        typer.Option(help="id of another account that deploys this account's code, repeatable"),
    ] = None,
) -> None:
    """Deploy the state's key and bucket by CloudFormation (as administrator, once per account)."""
    bootstrap.bootstrap(administrator_arn or (), reader_account or ())


@application.command(rich_help_panel=_LAYERS)
def plan(
    layer: Layer,
    environment: Environment = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the plan; default build/plans/<layer>-<environment>")
    ] = None,
    refuse_changes: Annotated[bool, typer.Option("--refuse-changes", help="fail if anything would change")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="as an identity that only plans; the service's cannot be applied")
    ] = False,
) -> None:
    """Save a plan of one layer, with a redacted copy for people and GitLab."""
    target = Target.of(layer, environment)
    directory = (out or target.plan_directory).absolute()
    layers.plan(target, directory, refuse_changes=refuse_changes, read_only=read_only)


@application.command(rich_help_panel=_LAYERS)
def preview(
    environment: Environment = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the service's plan; default build/plans/service-<environment>")
    ] = None,
) -> None:
    """Print what a deployment would do, as an identity that only plans; the foundation's plan can be applied."""
    layers.preview(require_environment(environment), out.absolute() if out else None)


@application.command(rich_help_panel=_LAYERS)
def apply(
    layer: Layer,
    environment: Environment = None,
    plan: Annotated[Path | None, typer.Option(help="folder that `plan` wrote")] = None,
    just_planned: Annotated[
        bool, typer.Option("--just-planned", help="on an emulator: trust what `plan` left on this machine a moment ago")
    ] = False,
) -> None:
    """Apply exactly the saved plan, if it was created for this layer, environment and commit."""
    target = Target.of(layer, environment)
    layers.apply(target, (plan or target.plan_directory).absolute(), just_planned=just_planned)


@application.command(rich_help_panel=_LAYERS)
def confirm(
    layer: Layer,
    preview: Annotated[Path, typer.Option(help="folder of the plan that was shown at the gate")],
    environment: Environment = None,
) -> None:
    """Pass if the saved plan does what was shown at the gate; else show it, and pass the second time."""
    target = Target.of(layer, environment)
    layers.confirm(target, preview.absolute(), target.plan_directory)


@application.command(rich_help_panel=_LAYERS)
def destroy(layer: Layer, environment: Environment = None) -> None:
    """Destroy a layer; databases, keys, buckets and zones only if PMP_ALLOW_DESTROY names them."""
    layers.destroy(Target.of(layer, environment))


@application.command(rich_help_panel=_LAYERS)
def drift(
    which: Annotated[list[str] | None, typer.Argument(metavar="[LAYER]…", help="default: foundation service")] = None,
    environment: Environment = None,
) -> None:
    """Fail if deployed layers differ from their code."""
    layers.drift([Target.of(layer, environment) for layer in which or PROMOTED_LAYERS])


@application.command(rich_help_panel=_LAYERS)
def unlock(
    layer: Layer,
    environment: Environment = None,
    older_than: Annotated[float, typer.Option(help="minutes; a younger lock is left alone")] = 20,
) -> None:
    """Release a state lock left by a killed run."""
    layers.unlock(Target.of(layer, environment), older_than)


@application.command("doctor", rich_help_panel=_LAYERS)
def doctor_command(environment: Environment = None) -> None:
    """Say what is right with the account, an environment and the GitLab project, and what to do next."""
    doctor.doctor(require_environment(environment) if environment else None)


# -- release -----------------------------------------------------------------------------------------------------------


@application.command(rich_help_panel=_RELEASE)
def package() -> None:
    """Build the Lambda's zip."""
    artifacts.package()


@application.command(rich_help_panel=_RELEASE)
def publish() -> None:
    """Upload the built zip under its digest, unless it is already there."""
    artifacts.publish()


@application.command("migrate", rich_help_panel=_RELEASE)
def migrate_command(
    environment: Environment = None,
    rotate_passwords: Annotated[
        bool, typer.Option("--rotate-passwords", help="give pmp_app and pmp_migrator new passwords")
    ] = False,
    backfill_minutes: Annotated[
        float, typer.Option(min=0.1, help="stop backfills after this time; the next run goes on there")
    ] = migrate.BACKFILL_MINUTES,
    most_active: Annotated[
        int, typer.Option(min=0, help="backfills wait while more sessions of others run a statement")
    ] = migrate.MOST_ACTIVE,
) -> None:
    """Deploy roles and schema with Sqitch, and run backfills; in a restored database, repeat the erasures."""
    name = require_environment(environment)
    migrate.migrate(name, rotate=rotate_passwords, minutes=backfill_minutes, most_active=most_active)
    replay.replay_if_restored(name)


@application.command("replay-erasures", rich_help_panel=_RELEASE)
def replay_erasures(environment: Environment = None) -> None:
    """Repeat the erasures that a restored database has forgotten, as `migrate` does (from inside the VPC)."""
    replay.replay(require_environment(environment))


@application.command("migrations", rich_help_panel=_RELEASE)
def migrations_command() -> None:
    """Check the migration scripts with squawk, and that a release only expands the schema and the next contracts it."""
    migrations.check()


@application.command("compatibility", rich_help_panel=_RELEASE, context_settings={"ignore_unknown_options": True})
def compatibility_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENT]…", help="for pytest")] = None,
) -> None:
    """Test this release's code and the previous one's, each on the schema of the other."""
    compatibility.check(ROOT, arguments or [])


@application.command("smoke", rich_help_panel=_RELEASE)
def smoke_command(
    environment: Environment = None,
    events: Annotated[
        int, typer.Option(envvar="PMP_SMOKE_EVENTS", help="number of lines in the test import")
    ] = smoke.DEFAULT_EVENTS,
    built: Annotated[bool, typer.Option("--built", help="require this commit and its built zip")] = False,
) -> None:
    """Test the deployed API through its own domain."""
    smoke.smoke(require_environment(environment), events, layers.Version.built() if built else None)


@application.command("canary", rich_help_panel=_RELEASE)
def canary_command(
    environment: Environment = None,
    minutes: Annotated[float, typer.Option(envvar="PMP_CANARY_MINUTES", help="how long to watch")] = 15,
    at_once: Annotated[
        bool, typer.Option("--at-once", envvar="PMP_AT_ONCE", help="give it all requests without watching")
    ] = False,
) -> None:
    """Let the newest version serve a tenth of the requests, then all of them, or take it back if they fail."""
    canary.release(require_environment(environment), minutes, at_once=at_once)


@application.command("releases", rich_help_panel=_RELEASE)
def releases_command(environment: Environment = None) -> None:
    """List the versions that an environment can be rolled back to, with dates and commits."""
    releases.show(require_environment(environment))


@application.command(rich_help_panel=_RELEASE)
def rollback(
    version: Annotated[str, typer.Argument(help="number as `releases` lists it, or SHA-256 of an earlier zip")],
    environment: Environment = None,
) -> None:
    """Deploy an earlier zip again, which then serves all requests at once."""
    name = require_environment(environment)
    layers.rollback(name, releases.digest_of(name, version))


Since = Annotated[str | None, typer.Option(help="such as 2026-11-26T12:00:00Z; default: a day before --until")]
Until = Annotated[str | None, typer.Option(help="such as 2026-11-26T13:00:00Z; default: now")]


@application.command("trace", rich_help_panel=_OPERATION)
def trace_command(
    request: Annotated[str, typer.Argument(help="request_id of a problem document or of a line in a log")],
    environment: Environment = None,
    since: Since = None,
    until: Until = None,
    postgres_log: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PostgreSQL's log, where it is a file")
    ] = None,
) -> None:
    """Print what gateway, function and database wrote about one request."""
    span = logs.Span.of(since, until, default=dt.timedelta(days=1))
    for line in logs.trace(require_environment(environment), request, span, postgres_log):
        say(f"{line.at:%Y-%m-%d %H:%M:%S.%f}  {line.source:<8}  {line.text}")


@application.command("readers", rich_help_panel=_OPERATION)
def readers_command(
    user: Annotated[str, typer.Argument(help="the user's id")],
    environment: Environment = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Print who read a user's data, and which files of many users were handed out (docs/adr/0411)."""
    span = logs.Span.of(since, until, default=dt.timedelta(days=1))
    found = logs.readers(require_environment(environment), user, span)
    rows = [(f"{one.at:%Y-%m-%dT%H:%M:%SZ}", one.client, one.operation, one.request, one.file) for one in found]
    say(logs.shown([("when", "client", "operation", "request", "file of many users"), *rows]))


@application.command(rich_help_panel=_RELEASE)
def report(
    plans: Annotated[Path | None, typer.Option(help="parent of the plan folders; default build/plans")] = None,
) -> None:
    """Post the plans as one note on the merge request."""
    note.publish(plans)


@application.command("release", rich_help_panel=_RELEASE)
def release_command(version: Annotated[str, typer.Argument(help="three numbers, such as 1.2.3")]) -> None:
    """Commit and tag a release: changelog, provider locks and the tag of the Sqitch plan. Pushes nothing."""
    release.cut(ROOT, version, dt.datetime.now(dt.UTC).date())


@application.command("publish-release", rich_help_panel=_RELEASE)
def publish_release_command(tag: Annotated[str, typer.Argument(envvar="CI_COMMIT_TAG", help="such as v1.2.3")]) -> None:
    """Create the GitLab release of a tag, with the built zip and its bill of materials."""
    release.publish(tag)


@application.command(rich_help_panel=_RELEASE)
def lock_providers() -> None:
    """Record the hashes of all Terraform providers for Linux and macOS, where the registry answers."""
    provider_locks.record(ROOT)


@application.command("image-lock", rich_help_panel=_RELEASE)
def image_lock(digest: Annotated[str, typer.Argument(help="sha256:…, as the job ci-image printed it")]) -> None:
    """Record the image that pipeline jobs run, in .gitlab-ci.yml."""
    images.record(digest)
    say(f".gitlab-ci.yml names {digest}: commit it")


@application.command("image-recorded", rich_help_panel=_RELEASE)
def image_recorded() -> None:
    """Check that the recorded image was built from this commit's files (the merge request's job)."""
    images.check()


@application.command("sbom", rich_help_panel=_RELEASE)
def sbom_command() -> None:
    """Write the built zip's bill of materials (CycloneDX) beside it."""
    from ops import sbom

    sbom.write()


@application.command("image-sbom", rich_help_panel=_RELEASE)
def image_sbom_command() -> None:
    """Write the bill of materials (CycloneDX) of the image in which pipeline jobs run, from inside it."""
    from ops import sbom

    sbom.write_image()


# -- access ------------------------------------------------------------------------------------------------------------


@application.command(rich_help_panel=_ACCESS)
def client(
    name: str,
    environment: Environment = None,
    scope: Annotated[
        str, typer.Option(help="space-separated: pmp/check, pmp/read, pmp/write, pmp/admin")
    ] = "pmp/read pmp/write",
) -> None:
    """Create an API client or change its scopes, and store its secret in Secrets Manager."""
    clients.ensure(require_environment(environment), name, tuple(scope.split()))


@application.command(rich_help_panel=_ACCESS)
def rotate_key(user: Annotated[str, typer.Argument(help="name of the IAM user")]) -> None:
    """Replace an IAM user's access key without interruption, and print the new one as AWS_… variables."""
    # Flushed, so that a closed pipe is an error while the old key still works.
    keys.rotate(user, aws.client("iam"), aws.sts_as, lambda key: print(key.export_lines(), flush=True))


@application.command(rich_help_panel=_ACCESS)
def rotate_token_key(
    environment: Environment = None,
    leaked: Annotated[bool, typer.Option("--leaked", help="end all tokens of the old keys at once")] = False,
) -> None:
    """Sign users' own tokens with a new key; tokens of the old one stay valid."""
    say(token_keys.rotate(require_environment(environment), is_leaked=leaked))


@application.command("hold", rich_help_panel=_ACCESS)
def hold_command(
    reason: Annotated[str, typer.Option(help="for whoever lifts it one day; no personal data")],
    environment: Environment = None,
    user: Annotated[str | None, typer.Option(help="id of the user whose events stay")] = None,
    consent: Annotated[str | None, typer.Option(help="id of the consent whose events stay")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="all events of the environment")] = False,
) -> None:
    """Set a legal hold: the events that it names stay, whatever the retention says (from inside the VPC)."""
    holds.place(require_environment(environment), reason, user, consent, everything=everything)


@application.command("lift-hold", rich_help_panel=_ACCESS)
def lift_hold(
    hold: Annotated[str, typer.Argument(help="id, as `holds` lists it")], environment: Environment = None
) -> None:
    """Lift a legal hold; what is due then leaves by the next runs of the housekeeping (from inside the VPC)."""
    holds.lift(require_environment(environment), hold)


@application.command("holds", rich_help_panel=_ACCESS)
def holds_command(environment: Environment = None) -> None:
    """List all legal holds, also the lifted ones (from inside the VPC)."""
    holds.show(require_environment(environment))


@application.command("policies", rich_help_panel=_ACCESS)
def policies_command(
    records: Annotated[list[Path], typer.Argument(help="IAM records of laptop platforms")],
    write: Annotated[bool, typer.Option("--write", help="add them to the committed record")] = False,
) -> None:
    """Compare what the delivery identity's policies grant with what deployments used."""
    policies.compare(records, aws.client("iam"), write_record=write)


@application.command("import", rich_help_panel=_ACCESS)
def import_command(  # noqa: PLR0917 - options
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or JSON; plain, gzip or zip")],
    url: Annotated[str, typer.Option(envvar="PMP_URL", help="base URL of the API")],
    token: Annotated[str, typer.Option(envvar="PMP_TOKEN", help="bearer token with scope pmp/write")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what an import would do, record nothing")] = False,
    occurred_at: Annotated[
        str | None, typer.Option(help="RFC 3339: when the choices on lines without an instant were made")
    ] = None,
    max_rejected: Annotated[int | None, typer.Option(help="fail when more lines are rejected")] = None,
    mapping: Annotated[str | None, typer.Option(help="id of the mapping that reads a file of another system")] = None,
) -> None:
    """Upload a file, follow its import, and print how many lines were accepted, skipped and rejected."""
    import_file.import_file(Api(url, token), file, import_file.Options(dry_run, occurred_at, max_rejected, mapping))


# -- reports -----------------------------------------------------------------------------------------------------------


@application.command("sizing", rich_help_panel=_REPORTS)
def sizing_command(
    instance_class: Annotated[str, typer.Argument(help="a class such as db.t3.medium, or all")] = sizing.ALL,
    rate: Annotated[int | None, typer.Option(help="only classes that carry so many requests per second")] = None,
) -> None:
    """Print how much load a database instance class carries and what its bursts cost."""
    costs.compare(sizing.show(instance_class, rate))


@application.command("costs", rich_help_panel=_REPORTS)
def costs_command() -> None:
    """Write docs/costs.md from the environments' tfvars and the list prices."""
    costs.write()


@application.command("generate-clients", rich_help_panel=_REPORTS)
def generate_clients_command() -> None:
    """Generate the Python and TypeScript clients and the Postman collection to build/clients."""
    client_libraries.generate()


@application.command("dashboard", rich_help_panel=_REPORTS)
def dashboard_command() -> None:
    """Draw docs/dashboard.svg from the planned CloudWatch dashboard."""
    dashboard.write()


@application.command("docs-site", rich_help_panel=_REPORTS)
def docs_site_command(
    output: Annotated[Path, typer.Argument(help="folder to write; replaced")] = ROOT / "build/site",
) -> None:
    """Build the documents as a site."""
    site.write(output)


if __name__ == "__main__":
    run_command(application, "interrupted; the running command shut down cleanly")
