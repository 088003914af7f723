"""moto, a second emulator: the bootstrap and the account layer here, every layer in the nightly ``make moto``."""

import ast
from pathlib import Path

import pytest

from checks.judges import FOLDER, emulator
from ops import plans
from ops.settings import PROMOTED_ENVIRONMENTS


@pytest.mark.slow
def test_bootstrap_and_account_layer_are_applied(tmp_path: Path) -> None:
    environment = PROMOTED_ENVIRONMENTS[0]
    with emulator.running(tmp_path, environment) as moto:
        moto.ops("bootstrap")
        assert moto.apply("account", environment) >= 30
        # moto says what AWS would: this policy names no version, action or resource.
        assert "MalformedPolicyDocument" in moto.refusal_of_policy({"Statement": [{"Effect": "Allow"}]})


def test_listed_gaps_are_those_that_are_filled() -> None:
    tree = ast.parse((FOLDER / "run_moto.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions - {"needed"} == set(emulator.filled())
    assert all(emulator.filled().values())


def test_list_of_forgotten_settings_is_one_that_plans_read() -> None:
    assert plans.known_gaps(emulator.GAPS)
