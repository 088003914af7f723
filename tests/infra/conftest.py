"""Fixtures for tests of planned resources: one emulated account and one planner for all."""

from collections.abc import Iterator

import pytest

from checks.planning import Planner, emulated_account, planner


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty emulated AWS account."""
    with emulated_account(tmp_path_factory.mktemp("account")) as address:
        yield address


@pytest.fixture(scope="session")
def plans(account: str) -> Iterator[Planner]:
    """Plans with PMP's stand-ins for registry modules."""
    with planner(account) as planning:
        yield planning
