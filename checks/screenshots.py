"""Write the README's pictures of the preference centre and the console: ``make screenshots``.

The pages run beside the function with a database of their own, which has only the demo's user (``local/demo.py``).
"""

import threading

from checks import chromium
from checks.gateway import served, token
from checks.stack import stack
from local import demo
from local.console.server import SCOPES, Server, Source
from ops import files
from ops.api import Api
from ops.errors import UserError, run_command
from ops.output import shown
from ops.settings import ROOT

MOST_BYTES = 150_000
_SIZE = (900, 760)
_REQUESTS = {"getUser": 412, "checkConsents": 380, "createEvent": 57}
"""Sample data of a day's log."""


def write() -> None:
    """Write both pictures.

    Raises:
        UserError: a picture would be too large for a README.
    """
    log = [
        {"message": "request", "operation": name, "status": 200, "milliseconds": 2.1}
        for name, count in _REQUESTS.items()
        for _ in range(count)
    ]
    with stack() as running, served(running.environment) as url, chromium.page() as page:
        api = Api(url, token())
        user = demo.seed(api)
        page.look(*_SIZE)
        page.call("Page.navigate", url=demo.link(api, user))
        page.wait("document.getElementById('content')?.hidden === false")
        _save("preferences", page.picture())

        console = Server(Source(lambda: Api(url, token(SCOPES)), lambda: log), 0)
        threading.Thread(target=console.serve_forever, daemon=True).start()
        page.call("Page.navigate", url=console.address)
        page.wait("document.querySelectorAll('#figures dd').length === 5")
        page.evaluate(f"document.getElementById('who').value = '{demo.EMAIL}'")
        page.evaluate("document.querySelector('#find button').click()")
        page.wait("document.querySelectorAll('#user table').length === 2")
        _save("console", page.picture())
        console.shutdown()


def _save(name: str, picture: bytes) -> None:
    if len(picture) > MOST_BYTES:
        raise UserError(
            f"{name}.png would have {len(picture):,} bytes of at most {MOST_BYTES:,}: make the screen smaller"
        )
    path = ROOT / "docs" / f"{name}.png"
    files.replace(path, picture)
    print(f"wrote {shown(path)}: {len(picture):,} bytes")


if __name__ == "__main__":
    run_command(write, "interrupted")
