"""Faults beside requests lose nothing that was acknowledged, and a loss is found. ``make faults`` has all faults."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from checks import preloads
from checks.bench.growth.record import Record
from checks.faults import deployment, report
from checks.faults.kinds import FAULTS, Fault, Scene
from checks.faults.measure import Row, measure
from checks.full_disk import full_disk
from checks.load.fleet import Fleet
from checks.load.ledger import Audit
from checks.load.mix import Mix, user_id
from checks.stack import missing, stack
from ops.errors import UserError

USERS, SECONDS = 400, 1.0
PATH = f"/v1/users/{user_id(2)}"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    if lacking := missing() or preloads.missing():
        pytest.skip(lacking)
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with full_disk() as disk, stack(settings=durable, preload=disk.library) as running:
        for _ in Record(running).fill(5 * USERS):
            pass
        with Fleet(running.environment, 30) as fleet:
            fleet.warm(Mix(USERS, 0).read("", PATH).event)
            yield Scene(running, fleet, disk)


@pytest.mark.parametrize("name", ["pooler killed", "function killed"])
def test_nothing_acknowledged_is_lost(scene: Scene, name: str) -> None:
    seed, fault = next((seed, fault) for seed, fault in enumerate(FAULTS, start=1) if fault.name == name)
    row = measure(scene, fault, users=USERS, seconds=SECONDS, seed=seed)
    assert row.failures() == []
    assert row.audit.acknowledged > 0
    assert row.repeated > 0
    assert row.after.acknowledged == row.audit.acknowledged + row.repeated


@pytest.fixture(scope="module")
def through_api(scene: Scene) -> Iterator[Scene]:
    """The same servers; the function is behind an API and an alias."""
    with deployment.running(scene.stack) as deployed, deployed.clients(PATH) as clients:
        yield replace(scene, fleet=clients, deployment=deployed)


def test_no_request_notices_that_the_alias_is_switched(through_api: Scene) -> None:
    (fault,) = [fault for fault in FAULTS if fault.through_api]
    row = measure(through_api, fault, users=USERS, seconds=SECONDS, seed=101)
    assert row.failures() == []
    assert row.audit.acknowledged > 0


def test_a_version_that_fails_for_a_moment_is_found(through_api: Scene) -> None:
    """One that raises an error, which API Gateway answers with 5xx without Retry-After."""
    deployed = through_api.deployment
    assert deployed is not None
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as file:
        file.writestr("pmp/handler.py", "def handler(event, context):\n    raise RuntimeError('broken on purpose')\n")

    def fail(_scene: Scene, seconds: float) -> None:
        old, new = deployed.alias.serving(), deployed.publish(broken.getvalue())
        deployed.alias.give_all(new)
        with pytest.raises(UserError, match=rf"versions \['status 5\d\d'\] answered .* instead of \['{new}'\]"):
            deployed.require_served({new}, seconds)
        deployed.alias.give_all(old)

    row = measure(through_api, Fault("broken", "", fail, feels=None, rate=8), users=USERS, seconds=SECONDS, seed=102)
    (status,) = row.bare
    assert f"broken: {row.bare[status]} answers of {status} had no Retry-After" in row.failures()
    assert "broken: clients noticed it" in row.failures()
    assert row.after.acknowledged == row.audit.acknowledged + row.repeated


def test_a_lost_event_is_found(scene: Scene) -> None:
    """A fault that removes what was acknowledged, without an error to anybody. The record is damaged from here on."""

    def lose(scene: Scene, seconds: float) -> None:
        scene.stack.cluster.psql(
            "SET session_replication_role = replica; DELETE FROM pmp.event AS e USING pmp.source AS s"
            " WHERE e.source_key = s.source_key AND s.client = 'faults-100'"
        )

    row = measure(scene, Fault("loss", "", lose, feels=None, writers=2), users=USERS, seconds=SECONDS, seed=100)
    lost = row.audit.acknowledged - row.audit.readable
    assert lost > 0
    assert f"loss: {lost} of {row.audit.acknowledged:,} acknowledged events cannot be read" in row.failures()


def test_each_failure_is_told() -> None:
    whole = Audit(acknowledged=2, readable=2, refused=1, recorded=0, strange=0, users=1, differing=0)
    row = Row(
        fault=Fault("any", "", lambda *_: None),
        requests=5,
        answers=Counter({2: 3, 5: 1}),
        unanswered=1,
        refused=0,
        bare=Counter(),
        recovery=(0.1, 0.2),
        audit=whole,
        repeated=1,
        statuses=Counter({201: 1}),
        after=replace(whole, acknowledged=3, readable=3, refused=0),
    )
    assert row.failures() == []
    shown = "| any | 5 | 3 | 0 | 1 | 0 | 1 | 0 | 2 | 2 | 0 | 1 of 1 | 0 | 0.10 | 0.20 |"
    assert report.table([row]).splitlines()[-1] == shown
    for damaged, told in (
        (replace(row, bare=Counter({500: 1})), "1 answers of 500 had no Retry-After"),
        (replace(row, requests=6), "1 requests were counted nowhere"),
        (replace(row, recovery=(0.1, None)), "it did not recover within 30 seconds"),
        (replace(row, statuses=Counter({409: 1})), "repeated events were not recorded: {409: 1}"),
        (replace(row, after=replace(whole, differing=1)), "choices of the projection differ"),
        (replace(row, answers=Counter({2: 4})), "it was not a fault"),
        (replace(row, fault=replace(row.fault, feels=None)), "clients noticed it"),
    ):
        (failure,) = damaged.failures()
        assert told in failure
