"""Run the registry: ``python -m local.registry --port 24501 --write-cli-config terraformrc``."""

import argparse
import sys
from pathlib import Path

from local.registry.server import RegistryServer, source
from ops import files
from ops.providers import cli_configuration


def main() -> None:
    """Serve until interrupted; the first line of output names the source of the modules."""
    parser = argparse.ArgumentParser(prog="python -m local.registry", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--write-cli-config", type=Path, metavar="FILE", help="write a Terraform CLI configuration")
    arguments = parser.parse_args()
    try:
        server = RegistryServer(arguments.port, source())
        if arguments.write_cli_config:
            url = server.url if server.source.directory else None
            files.replace(arguments.write_cli_config, cli_configuration(url, server.source.description))
    except OSError as error:
        sys.exit(f"module registry: {error}")
    at = f" at {server.url}" if server.source.directory else ""
    print(f"modules from {server.source.description}{at}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
