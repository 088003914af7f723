"""``python -m local.vendor_list --port P --certificate FILE --key FILE``: the third-party API's test double."""

import argparse
from pathlib import Path

from local.vendor_list.server import PATH, Server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m local.vendor_list", description="A double of the vendor list host."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, help="PEM; without it, the server uses plain HTTP")
    parser.add_argument("--key", type=Path, help="PEM")
    arguments = parser.parse_args()
    if (arguments.certificate is None) != (arguments.key is None):
        parser.error("--certificate and --key go together")
    for path in (arguments.certificate, arguments.key):
        if path is not None and not path.is_file():
            parser.error(f"{path} does not exist")
    try:
        server = Server(arguments.port, arguments.certificate, arguments.key)
    except OSError as error:
        parser.exit(1, f"cannot listen on 127.0.0.1:{arguments.port}: {error.strerror}; choose another --port\n")
    scheme = "https" if arguments.certificate else "http"
    print(f"vendor list on {scheme}://localhost:{server.server_port}{PATH}, POST /control sets its mode", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
