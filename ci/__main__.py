"""``python -m ci <command>``: what the pipeline's jobs run. The ``AWS_*`` variables say as whom and where."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from ci import artifacts, aws, clients, layers, note
from ci.bootstrap import bootstrap as deploy_bootstrap
from ci.errors import CommandError, InterruptedCommandError
from ci.migrate import migrate as deploy_schema
from ci.migrations import check as check_migrations
from ci.settings import PROMOTED_LAYERS, Target, require_digest, require_environment
from ci.smoke import DEFAULT_EVENTS
from ci.smoke import smoke as run_smoke

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Environment = Annotated[
    str | None, typer.Option("--environment", envvar="PMP_ENVIRONMENT", help="dev, staging, prod or local")
]
Layer = Annotated[str, typer.Argument(help="account, foundation or service")]


@application.command()
def bootstrap(
    administrator_arn: Annotated[
        list[str] | None,
        typer.Option(help="a role or user that applies the account layer, repeatable; the first time: yourself"),
    ] = None,
) -> None:
    """Deploy the state's key and bucket by CloudFormation (as administrator, once per account)."""
    deploy_bootstrap(administrator_arn or ())


@application.command()
def plan(
    layer: Layer,
    environment: Environment = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of the plan; default build/plans/<layer>-<environment>")
    ] = None,
    refuse_changes: Annotated[bool, typer.Option("--refuse-changes", help="fail when anything would change")] = False,
) -> None:
    """Save a plan of one layer, with a redacted copy for people and GitLab."""
    target = Target.of(layer, environment)
    layers.plan(target, (out or target.plan_directory).absolute(), refuse_changes=refuse_changes)


@application.command()
def apply(
    layer: Layer,
    environment: Environment = None,
    plan: Annotated[Path | None, typer.Option(help="folder that `plan` wrote")] = None,
) -> None:
    """Apply exactly the saved plan, if it was made for this layer, environment and commit."""
    target = Target.of(layer, environment)
    layers.apply(target, (plan or target.plan_directory).absolute())


@application.command()
def destroy(layer: Layer, environment: Environment = None) -> None:
    """Destroy a layer; databases, keys, buckets and zones only if PMP_ALLOW_DESTROY names them."""
    layers.destroy(Target.of(layer, environment))


@application.command()
def migrate(
    environment: Environment = None,
    rotate_passwords: Annotated[
        bool, typer.Option("--rotate-passwords", help="give pmp_app and pmp_migrator new passwords")
    ] = False,
) -> None:
    """Define the database's roles and deploy the schema with Sqitch."""
    deploy_schema(require_environment(environment), rotate=rotate_passwords)


@application.command()
def migrations() -> None:
    """Check the migrations' scripts: squawk, and the rule that a release expands and the next one contracts."""
    check_migrations()


@application.command()
def client(
    name: str,
    environment: Environment = None,
    scope: Annotated[str, typer.Option(help="space-separated")] = "pmp/read pmp/write",
) -> None:
    """Make an API client, or bring it to these scopes; its secret goes to Secrets Manager."""
    clients.ensure(require_environment(environment), name, tuple(scope.split()))


@application.command()
def package() -> None:
    """Build the Lambda's zip."""
    artifacts.package()


@application.command()
def publish() -> None:
    """Upload the built zip under its digest, once."""
    artifacts.publish()


@application.command()
def smoke(
    environment: Environment = None,
    events: Annotated[int, typer.Option(envvar="PMP_SMOKE_EVENTS", help="lines of the test import")] = DEFAULT_EVENTS,
    built: Annotated[bool, typer.Option("--built", help="demand this commit and the zip of `package`")] = False,
) -> None:
    """Test the deployed API through its own domain."""
    run_smoke(require_environment(environment), events, layers.Version.built() if built else None)


@application.command()
def drift(
    which: Annotated[list[str] | None, typer.Argument(metavar="[LAYER]…", help="default: foundation service")] = None,
    environment: Environment = None,
) -> None:
    """Fail when layers are not as their code says."""
    layers.drift([Target.of(layer, environment) for layer in which or PROMOTED_LAYERS])


@application.command()
def unlock(
    layer: Layer,
    environment: Environment = None,
    older_than: Annotated[float, typer.Option(help="minutes; a younger lock is left alone")] = 20,
) -> None:
    """Release the state lock that a killed run left."""
    layers.unlock(Target.of(layer, environment), older_than)


@application.command()
def rollback(
    digest: Annotated[str, typer.Argument(help="SHA-256 of an earlier zip")], environment: Environment = None
) -> None:
    """Run an earlier zip again."""
    layers.rollback(require_environment(environment), require_digest(digest))


@application.command()
def report(
    plans: Annotated[Path | None, typer.Option(help="folder of the plan folders; default build/plans")] = None,
) -> None:
    """Show the plans in one note on the merge request."""
    note.publish(plans)


def main() -> None:
    """Run a command; what a person can act on is the last line on standard error, exit status 1."""
    try:
        application()
    except CommandError as error:
        sys.exit(f"error: {error}")
    except (ClientError, BotoCoreError) as error:
        sys.exit(f"error: {aws.explain(error)}")
    except (InterruptedCommandError, KeyboardInterrupt):
        print("error: interrupted; what was running has ended in good order", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
