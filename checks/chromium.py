"""Drive Debian's headless Chromium with the DevTools protocol over a pipe, without a driver program or a package.

The protocol: https://chromedevtools.github.io/devtools-protocol/. Each message ends with a zero byte.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.settings import ROOT

_AXE = ROOT / "checks/axe/node_modules/axe-core/axe.min.js"


class Page:
    """One tab with its console and network log."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            RuntimeError: Chromium ended or refused the command.
            TimeoutError: there was no result within a minute, for example because a server did not answer.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium did not answer in time")
            block = os.read(self._from, 1 << 20)
            if not block:
                raise RuntimeError("Chromium ended")
            self._received += block
        message, _, self._received = self._received.partition(b"\0")
        document: dict[str, Any] = json.loads(message)
        return document

    def evaluate(self, expression: str) -> Any:
        """Evaluate a JavaScript expression in the page and return its value.

        Raises:
            RuntimeError: the expression threw an exception.
        """
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """Wait until the expression is true and return its value.

        Raises:
            TimeoutError: it was not true within ``seconds``.
        """
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                shown = f"complaints: {self.complaints()}, requested: {self.requested()}"
                raise TimeoutError(f"{expression} did not become true in {seconds} s; {shown}")
            time.sleep(0.1)
        return value

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show the page as a screen of this size, in CSS pixels, whose owner prefers light or dark pages."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, *, whole: bool = False) -> bytes:
        """Return a PNG of what the screen shows, or of the whole page."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])

    def complaints(self) -> list[str]:
        """Return the errors in the console: exceptions, refused loads, violated policies."""
        printed = [event["params"] for event in self.events if event["method"] == "Runtime.consoleAPICalled"]
        errors = [call["args"] for call in printed if call["type"] == "error"]
        logged = [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        return [
            *(entry["text"] for entry in logged if entry["level"] == "error"),
            *(str(error) for error in thrown),
            *(" ".join(str(a.get("description", a.get("value"))) for a in arguments) for arguments in errors),
        ]

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong with the accessibility of the page as it is now, one line per rule.

        Raises:
            FileNotFoundError: axe-core is not installed.
        """
        if not _AXE.exists():
            raise FileNotFoundError(f"{_AXE} is missing: 'make test-integration' installs it")
        self.evaluate(_AXE.read_text() + ";0")
        found = self.evaluate(
            "axe.run().then(({violations}) => violations.map(({id, help, nodes}) => "
            "`${id}: ${help}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`))"
        )
        return list(map(str, found))

    def requested(self) -> list[str]:
        """Return every URL that the page has requested."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [parameters["request"]["url"] for parameters in sent]


@contextmanager
def page() -> Iterator[Page]:
    """Start a browser with an empty profile; yield its tab.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    executable = shutil.which("chromium")
    if executable is None:
        raise FileNotFoundError("chromium is not installed: apt-get install chromium")
    profile = tempfile.mkdtemp(prefix="pmp-chromium-")
    browser_reads, we_write = os.pipe()
    we_read, browser_writes = os.pipe()

    def connect() -> None:
        # The protocol requires descriptors 3 and 4. The detour over 100 and 101 keeps one from overwriting the other.
        reads, writes = os.dup(browser_reads), os.dup(browser_writes)
        high_reads, high_writes = 100, 101
        os.dup2(reads, high_reads)
        os.dup2(writes, high_writes)
        os.dup2(high_reads, 3)
        os.dup2(high_writes, 4)

    # no-sandbox: tests also run as root in containers, and only against loopback.
    command = [executable, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
    command += [
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    browser = subprocess.Popen(
        command,
        preexec_fn=connect,  # noqa: PLW1509 - the tests that use it have no threads
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        yield Page(we_write, we_read)
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        os.close(we_write)
        os.close(we_read)
        # Its other processes, which are not ours to wait for, may write a last file.
        while Path(profile).exists():
            shutil.rmtree(profile, ignore_errors=True)
