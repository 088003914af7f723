"""``python -m local``: the laptop platform's commands, as called by ``make``."""

import contextlib
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from local import accounts, demo, inspection, variables
from local import instance as instances
from local.account import ACCOUNT
from local.console.server import SCOPES, Server, Source
from local.instance import clean_environment
from local.pipeline import run_pipeline
from local.platform import MEMORY_LIMIT_BYTES, Platform
from local.reload import Reload
from ops import import_file, policies
from ops.api import Api
from ops.errors import UserError, run_command
from ops.output import shown
from ops.settings import ENVIRONMENTS, LAPTOP_ENVIRONMENT, PROMOTED_ENVIRONMENTS, ROOT

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

_FUNCTION = "function"
"""The log that is not a file: what the Lambda wrote to CloudWatch."""

Environment = Annotated[str, typer.Option(help=", ".join(ENVIRONMENTS))]


def _platform() -> Platform:
    return Platform(instances.current(), Console(soft_wrap=True))


@application.command()
def up(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Start, deploy and test everything."""
    platform = _platform()
    started = time.monotonic()
    platform.up(environment)
    platform.console.print(f"  up in {time.monotonic() - started:.0f} s\n", highlight=False)
    print(platform.summary(environment))


@application.command()
def reload(
    watch: Annotated[bool, typer.Option("--watch", help="again after each change, until Ctrl-C")] = False,
) -> None:
    """Bring changed Lambda code and SQL functions to the running platform, in seconds."""
    reloading = Reload(_platform())
    if watch:
        reloading.watch()
    else:
        reloading.once()


@application.command()
def down() -> None:
    """Stop everything and remove what `up` created."""
    stopped = _platform().down()
    print(f"stopped and removed: {', '.join(stopped)}" if stopped else "nothing was running")


@application.command()
def status() -> None:
    """Show the running processes, their ports, memory and logs."""
    platform = _platform()
    running = platform.running()
    if not running:
        raise UserError(f"instance {platform.instance.name!r} is not running: start it with 'make up'")
    table = Table("process", "id", "port on 127.0.0.1", "memory", "log")
    for process in running:
        memory = f"{process.memory / 1024**2:.0f} MiB"
        table.add_row(process.name, str(process.pid), str(process.port), memory, process.log.name)
    total = sum(process.memory for process in running)
    platform.console.print(table)
    print(f"memory: {total / 1024**2:.0f} MiB of at most {MEMORY_LIMIT_BYTES / 1024**2:.0f} MiB")
    print(f"logs:   {platform.instance.logs}")
    try:
        print(f"API:    {platform.door_url(LAPTOP_ENVIRONMENT)} and {platform.api_url(LAPTOP_ENVIRONMENT)}")
    except UserError:
        print("API:    not deployed")


@application.command()
def logs(
    name: Annotated[str, typer.Argument(help="function, a process or a phase; by default all but function")] = "",
    environment: Environment = LAPTOP_ENVIRONMENT,
) -> None:
    """Follow the logs: of the processes from their files, of the function from CloudWatch."""
    platform = _platform()
    instance = platform.instance
    if name == _FUNCTION:
        with contextlib.suppress(KeyboardInterrupt):
            inspection.follow_function(platform, environment)
        return
    known = sorted(path.stem for path in instance.logs.glob("*.log"))
    if not known:
        raise UserError(f"instance {instance.name!r} has no logs yet: start it with 'make up'")
    files = [instance.logs / f"{one}.log" for one in known if one.startswith(name)]
    if not files:
        raise UserError(f"LOG={name!r} is not a log: use {', '.join([_FUNCTION, *known])}")
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(["tail", "-n", "20", "-F", *map(str, files)], check=False)


@application.command()
def psql(
    environment: Environment = LAPTOP_ENVIRONMENT,
    statement: Annotated[str, typer.Option("--sql", help="run this and end")] = "",
) -> None:
    """Open psql as the schema's owner."""
    inspection.psql(_platform(), environment, statement)


@application.command()
def shell(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Open a Python shell with a client of the API and a function that invokes the Lambda."""
    inspection.shell(_platform(), environment)


@application.command()
def console(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Serve a read-only page for the team on loopback, until Ctrl-C."""
    platform = _platform()
    instance, url = platform.instance, platform.door_url(environment)
    source = Source(
        connect=lambda: Api(url, platform.token(environment, SCOPES), instance.ca_file),
        logged=lambda: inspection.logged_today(platform, environment),
        authority=instance.ca_file,
    )
    try:
        server = Server(source, instance.console_port)
    except OSError as error:
        raise UserError(f"port {instance.console_port} is taken, perhaps by another 'make console': {error}") from error
    print(f"console: {server.address}\nCtrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


@application.command()
def url(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Print the API's base URL on localhost; on a terminal, also the one on its custom domain."""
    platform = _platform()
    print(platform.door_url(environment))
    if sys.stdout.isatty():
        print(f"its custom domain: {platform.api_url(environment)}", file=sys.stderr)


@application.command()
def token(
    environment: Environment = LAPTOP_ENVIRONMENT,
    scope: Annotated[str, typer.Option(help="space-separated scopes; by default all")] = "",
) -> None:
    """Print a bearer token for the smoke test's client."""
    print(_platform().token(environment, scope))


@application.command()
def env(
    environment: Environment = LAPTOP_ENVIRONMENT,
    scope: Annotated[str, typer.Option(help="space-separated scopes; by default all")] = "",
) -> None:
    """Print export lines for API clients: the address, a token, and variables that make each trust the certificate."""
    platform = _platform()
    url = platform.door_url(environment)
    print(variables.export_lines(platform.instance, url, platform.token(environment, scope)))


@application.command()
def credentials(
    identity: Annotated[str, typer.Argument(help="admin, gitlab or plan")] = "gitlab",
    environment: Environment = LAPTOP_ENVIRONMENT,
) -> None:
    """Print export lines for AWS tools, Terraform and `python -m ops`."""
    platform = _platform()
    if (identity, environment) != ("plan", ACCOUNT):
        platform.environment(environment)
    platform.account.require_running()
    print(platform.account.export_lines(identity, environment))


@application.command("demo")
def demo_command(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Show a user's own preferences in the browser; the link works for a day, its erasure for 15 minutes."""
    platform = _platform()
    api = Api(platform.door_url(environment), platform.token(environment), platform.instance.ca_file)
    address = demo.link(api, demo.seed(api))
    print(f"preferences of {demo.EMAIL}:\n  {address}")
    print(f"\nThe browser warns unless it trusts {shown(platform.instance.ca_file)}, which is this laptop's alone.")
    if sys.stdout.isatty():
        webbrowser.open(address)


@application.command("doctor")
def doctor_command(environment: Environment = LAPTOP_ENVIRONMENT) -> None:
    """Say what is right here, and what to do next, as `python -m ops doctor` does on AWS."""
    _ops(_platform(), environment, "doctor")


@application.command()
def trace(
    request: Annotated[str, typer.Argument(help="request_id of a problem document or of a line in a log")],
    environment: Environment = LAPTOP_ENVIRONMENT,
) -> None:
    """Print what function and database wrote about one request; the emulated gateway writes no access log."""
    platform = _platform()
    platform.account.require_running()
    postgres_log = platform.environment(environment).cluster.log_path
    _ops(platform, environment, "trace", request, "--postgres-log", str(postgres_log))


@application.command()
def readers(
    user: Annotated[str, typer.Argument(help="the user's id")], environment: Environment = LAPTOP_ENVIRONMENT
) -> None:
    """Print who read a user's data in the last day."""
    _ops(_platform(), environment, "readers", user)


def _ops(platform: Platform, environment: str, *arguments: str) -> None:
    """Run `python -m ops` with the emulated account's administrator; end as it ends."""
    platform.environment(environment)
    platform.account.require_running()
    variables = clean_environment() | platform.instance.tool_environment(environment)
    variables |= platform.account.credentials("admin").environment()
    done = subprocess.run([sys.executable, "-m", "ops", *arguments], cwd=ROOT, env=variables, check=False)
    if done.returncode:
        sys.exit(done.returncode)


@application.command("import")
def import_command(  # noqa: PLR0917 - the command line
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or JSON; plain, gzip or zip")],
    environment: Environment = LAPTOP_ENVIRONMENT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what an import would do, record nothing")] = False,
    occurred_at: Annotated[
        str | None, typer.Option(help="RFC 3339: when the choices on lines without an instant were made")
    ] = None,
    max_rejected: Annotated[int | None, typer.Option(help="fail when more lines are rejected")] = None,
    mapping: Annotated[str | None, typer.Option(help="id of the mapping that reads a file of another system")] = None,
) -> None:
    """Upload a file, follow its import, and print how many lines were accepted, skipped and rejected."""
    options = import_file.Options(dry_run, occurred_at, max_rejected, mapping)
    import_file.import_file(_platform().api(environment), file, options)


@application.command("policies")
def policies_command(
    write: Annotated[bool, typer.Option("--write", help="add what was used to the committed record")] = False,
) -> None:
    """Compare what the delivery identity's policies grant with what this platform's deployments used."""
    platform = _platform()
    platform.account.require_running()
    policies.compare(
        [platform.instance.iam_record], platform.account.session("admin").client("iam"), write_record=write
    )


@application.command()
def rotate_key(
    identity: Annotated[str, typer.Argument(help="gitlab or plan")] = "gitlab",
    environment: Environment = LAPTOP_ENVIRONMENT,
) -> None:
    """Replace the access key of a GitLab identity of one environment without interruption."""
    account = _platform().account
    account.require_running()
    account.rotate_key(identity, environment)


@application.command()
def pipeline(
    commit: Annotated[str, typer.Option(help="commit to promote")] = "HEAD",
    through: Annotated[
        str, typer.Option(help=f"last environment whose gate is opened: {', '.join(PROMOTED_ENVIRONMENTS)}")
    ] = PROMOTED_ENVIRONMENTS[-1],
) -> None:
    """Promote a commit by running .gitlab-ci.yml on this platform."""
    run_pipeline(_platform(), commit, through)


@application.command("accounts")
def accounts_command() -> None:
    """Deploy dev, staging and prod, each into an emulated account of its own, from empty accounts."""
    accounts.run(_platform())


if __name__ == "__main__":
    run_command(application, "interrupted: 'make up' continues from here, 'make down' removes everything")
