"""Resolve names under ``localhost`` to this machine (RFC 6761, 6.3), even if the C library does not.

Schemathesis imports this module into its own virtual environment (``SCHEMATHESIS_HOOKS``).
"""

import socket
from typing import Any

_getaddrinfo = socket.getaddrinfo


def _resolve(host: Any, *arguments: Any, **more: Any) -> Any:
    is_ours = isinstance(host, str) and host.rstrip(".").endswith(".localhost")
    return _getaddrinfo("127.0.0.1" if is_ours else host, *arguments, **more)


socket.getaddrinfo = _resolve
