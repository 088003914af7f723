"""A migration of a restored database repeats the erasures; an ordinary one does not read their journal."""

import pytest

from ops import aws, replay


@pytest.mark.parametrize(
    ("instance", "replayed"), [("pmp-prod", []), ("pmp-prod-r1", ["prod"]), ("pmp-prod-r2", ["prod"])]
)
def test_erasures_are_repeated_in_a_restored_database_only(
    instance: str, replayed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"/pmp/prod/foundation/database_identifier": instance}
    called: list[str] = []
    monkeypatch.setattr(aws, "parameter", parameters.__getitem__)
    monkeypatch.setattr(replay, "replay", called.append)
    replay.replay_if_restored("prod")
    assert called == replayed
