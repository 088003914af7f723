"""Start execution environments of a function: ``python -I zygote.py FOLDER MODULE CONTROL PRELOADED…``.

This process imports the function once. Each message on the socket CONTROL (a descriptor's number) brings the socket of
a new environment, which is a fork of this process. So hundreds of them share the code in memory, and each has its own
heap and its own database connection. An environment takes one event at a time, as on Lambda, and ends when its socket
is closed, or this process ends. It runs outside of PMP's packages, since other functions have other ones.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

LARGEST_EVENT = 64 << 10
FUNCTION_SECONDS = 300
"""The function's timeout."""

_PR_SET_PDEATHSIG = 1
"""Ends a child with its parent, even one that hangs: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html."""


class Context:
    """The part of Lambda's context that the function reads."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._end = time.monotonic() + FUNCTION_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would stop the function."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def serve(channel: socket.socket, handler: Callable[[dict[str, Any], Context], Any]) -> None:
    """Answer events until the socket is closed.

    An event is ``?`` or ``!`` and JSON. Its answer is the status in digits, the header Retry-After (empty without one)
    and, after ``?``, the body, with a space between each. The body must fit into the socket's buffer (200 kB). If the
    function raised an error, the status is 0 and the body the error.
    """
    while message := _next(channel):
        try:
            answer = handler(json.loads(message[1:]), Context()) or {"statusCode": 200}
            json.dumps(answer)  # Lambda's runtime sends it on.
            status, text = answer["statusCode"], answer.get("body") or ""
            retry_after = answer.get("headers", {}).get("Retry-After", "")
        except Exception as error:  # noqa: BLE001 - Lambda reports it as well
            status, text, retry_after = 0, repr(error), ""
        try:
            channel.send(f"{status} {retry_after} {text if message[:1] == b'?' else ''}".encode())
        except BrokenPipeError:  # Nobody waits any more.
            return


def _next(channel: socket.socket) -> bytes:
    try:
        return channel.recv(LARGEST_EVENT)
    except ConnectionResetError:  # closed before it had read an answer
        return b""


def _reap(*_: object) -> None:
    """Count the processor time of ended environments as this process's children's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> None:
    """Fork until the control socket is closed."""
    folder, module, control_descriptor, *preloaded = sys.argv[1:]
    sys.path.insert(0, folder)
    handler = importlib.import_module(module).handler
    for name in preloaded:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that a collection does not copy the shared pages
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The end of the sockets ends all.
    control = socket.socket(fileno=int(control_descriptor))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            if "asyncio" in sys.modules:  # A loop that was made at import would be shared with the others.
                sys.modules["asyncio"].set_event_loop(sys.modules["asyncio"].new_event_loop())
            serve(socket.socket(fileno=descriptors[0]), handler)
            os._exit(0)
        os.close(descriptors[0])
        control.send(str(pid).encode())


if __name__ == "__main__":
    main()
