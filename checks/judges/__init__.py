"""Judges of what AWS would accept, beside MiniStack and botocore's models: moto and parliament.

They have a virtual environment of their own: moto needs another botocore than MiniStack, parliament an old setuptools.
"""

from pathlib import Path

from ops.settings import ROOT
from ops.virtual_environments import prepared

FOLDER = Path(__file__).parent


def install() -> Path:
    """Return the path of the judges' Python, with the packages of the lock file."""
    return prepared(ROOT / "build" / "judges", FOLDER / "requirements.lock") / "python"
