"""``openapi.json``, the one source of what requests and lines of imports may hold."""

import json
import os
from typing import Any

from pmp.schema import Schemas


def content() -> bytes:
    """The document's bytes, read from a folder or from the zip."""
    path = os.path.join(os.path.dirname(__file__), "openapi.json")  # noqa: PTH118, PTH120 - in a zip
    return bytes(__loader__.get_data(path))  # type: ignore[name-defined]


DOCUMENT: dict[str, Any] = json.loads(content())
SCHEMAS = Schemas(DOCUMENT)
