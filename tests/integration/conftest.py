"""The tests of one folder share servers: they run in one process, in the order of their files."""

from pathlib import PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_FOLDER = 2
"""Place of the folder in an id such as tests/integration/api/test_me.py::test_name."""


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    def _split_scope(self, nodeid: str) -> str:
        # Not --dist loadgroup, whose groups pytest 9.2 does not show to the scheduler.
        return PurePath(nodeid).parts[_FOLDER]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each process whole folders, the one with the most tests first."""
    return _ByFolder(config, log)
