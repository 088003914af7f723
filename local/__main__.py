"""``python -m local``: the laptop platform's commands, as called by ``make``."""

import subprocess
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from local import instance as instances
from local.instance import PlatformError
from local.oauth import bearer_token
from local.phases import InterruptedPhasesError
from local.platform import MEMORY_LIMIT_BYTES, Platform

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
environments = typer.Typer(no_args_is_help=True, help="The servers of single environments, without a deployment.")
application.add_typer(environments, name="environment")

Environment = Annotated[str, typer.Option(help="local, dev, staging or prod")]


def _platform() -> Platform:
    return Platform(instances.current(), Console(soft_wrap=True))


@application.command()
def up(environment: Environment = "local") -> None:
    """Start everything, deploy everything, test it."""
    platform = _platform()
    started = time.monotonic()
    platform.up(environment)
    platform.console.print(f"  up in {time.monotonic() - started:.0f} s\n", highlight=False)
    print(platform.closing_words(environment))


@application.command()
def down() -> None:
    """Stop everything and remove what `up` made."""
    stopped = _platform().down()
    print(f"stopped and removed: {', '.join(stopped)}" if stopped else "nothing was running")


@application.command()
def status() -> None:
    """Show what runs where."""
    platform = _platform()
    running = platform.running()
    if not running:
        raise PlatformError(f"instance {platform.instance.name!r} does not run: start it with 'make up'")
    table = Table("process", "id", "port on 127.0.0.1", "memory", "log")
    for one in running:
        table.add_row(one.name, str(one.pid), str(one.port), f"{one.memory / 1024**2:.0f} MiB", one.log.name)
    total = sum(one.memory for one in running)
    platform.console.print(table)
    print(f"memory: {total / 1024**2:.0f} MiB of at most {MEMORY_LIMIT_BYTES / 1024**2:.0f} MiB")
    print(f"logs:   {platform.instance.logs}")
    try:
        print(f"API:    {platform.api_url('local')}")
    except PlatformError:
        print("API:    not deployed")


@application.command()
def logs(name: Annotated[str, typer.Argument(help="a process or phase; all when left out")] = "") -> None:
    """Follow the logs."""
    instance = _platform().instance
    known = sorted(path.stem for path in instance.logs.glob("*.log"))
    if not known:
        raise PlatformError(f"instance {instance.name!r} has no logs yet: start it with 'make up'")
    files = [instance.logs / f"{one}.log" for one in known if one.startswith(name)]
    if not files:
        raise PlatformError(f"LOG={name!r} is no log: use {', '.join(known)}")
    try:
        subprocess.run(["tail", "-n", "20", "-F", *map(str, files)], check=False)
    except KeyboardInterrupt:
        return


@application.command()
def url(environment: Environment = "local") -> None:
    """Print the API's base URL."""
    print(_platform().api_url(environment))


@application.command()
def token(
    environment: Environment = "local",
    scope: Annotated[str, typer.Option(help="space-separated scopes; all when left out")] = "",
) -> None:
    """Print a bearer token of the smoke test's client."""
    platform = _platform()
    platform.environment(environment)
    account = platform.account
    client_id = account.parameter(f"/pmp/{environment}/clients/smoke")
    secret = account.secret(f"pmp/{environment}/clients/smoke")
    token_url = account.parameter(f"/pmp/{environment}/foundation/token_url")
    client_secret = str(secret.get("client_secret") or secret["secret"])
    print(bearer_token(token_url, client_id, client_secret, scope, platform.instance.ca_file))


@application.command()
def credentials(
    identity: Annotated[str, typer.Argument(help="admin, gitlab or plan")] = "gitlab",
    environment: Environment = "local",
) -> None:
    """Print export lines for AWS tools, Terraform and `python -m ci`."""
    platform = _platform()
    platform.environment(environment)
    platform.account.require_running()
    print(platform.account.export_lines(identity, environment))


@environments.command("up")
def environment_up(names: Annotated[list[str], typer.Argument(help="dev staging prod local")]) -> None:
    """Start PostgreSQL and PgBouncer and write the variables that lead Terraform to them."""
    _platform().start_environments(names)


@environments.command("attach")
def environment_attach(name: str) -> None:
    """Give an environment's servers the passwords that foundation's secrets hold."""
    platform = _platform()
    platform.environment(name).attach(platform.account)


def main() -> None:
    """Run a command; what a person can act on is one line on stderr, exit status 1."""
    try:
        application()
    except PlatformError as error:
        sys.exit(f"error: {error}")
    except (KeyboardInterrupt, InterruptedPhasesError):
        print("interrupted: 'make up' goes on from here, 'make down' removes everything", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
