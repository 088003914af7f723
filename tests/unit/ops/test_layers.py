"""A version of the service layer as Terraform's variables, and what an apply trusts."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import layers, plans, quotas
from ops.layers import Version
from ops.settings import Target

RELEASE = "0" * 40


def test_a_digest_is_passed_on() -> None:
    assert Version(RELEASE, "1" * 64).variables() == {"release": RELEASE, "code_sha256": "1" * 64}


def test_what_terraform_packaged_is_packaged_again() -> None:
    assert Version(RELEASE, "unknown").variables() == {"release": RELEASE}


@pytest.mark.parametrize(
    ("endpoint", "expected"), [("", ["init", "show_json", "apply"]), ("https://127.0.0.1:24500", ["apply"])]
)
def test_only_on_an_emulator_an_apply_trusts_what_a_plan_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, expected: list[str]
) -> None:
    done: list[str] = []

    class Recorder:
        def __init__(self, _: Target) -> None: ...

        def __getattr__(self, name: str) -> Any:
            def record(*_: object) -> dict[str, Any]:
                done.append(name)
                return {"variables": {"environment": {"value": "local"}}}

            return record

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    # A job of the pipeline knows its commit, which is not that of this plan.
    monkeypatch.delenv("CI_COMMIT_SHA", raising=False)
    monkeypatch.setattr(layers, "Terraform", Recorder)
    monkeypatch.setattr(quotas, "require", lambda _: None)
    target = Target.of("foundation", "local")
    (tmp_path / plans.PLAN).write_text("plan")
    origin = plans.Origin("foundation", "local", RELEASE, plans.sha256(tmp_path / plans.PLAN), read_only=False)
    plans.save(tmp_path, origin, {"variables": {"environment": {"value": "local"}}, "resource_changes": []}, "text")
    assert json.loads((tmp_path / plans.DOCUMENT).read_text())
    layers.apply(target, tmp_path, just_planned=True)
    assert done == expected
