"""Two clients with different clocks: a received denial holds, and all ways to read agree."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmp import instants

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, choose, consents
from tests.integration.api.test_stateful import DIFFERENCE

FORMS = ("absent", "seconds", "microseconds")

writes = st.lists(
    st.tuples(st.integers(0, 1), st.booleans(), st.sampled_from(FORMS), st.integers(-2, 0)), min_size=1, max_size=8
)
clocks = st.tuples(st.integers(-3, 299), st.integers(-3, 299))


def time_field(form: str, seconds: int) -> dict[str, str]:
    """Return the ``occurred_at`` field from a client whose clock differs by ``seconds``; empty if "absent"."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return {} if form == "absent" else {"occurred_at": moment.isoformat(timespec=form)}


def counts_at(event: dict[str, Any]) -> datetime:
    """Return the instant from which the only choice of an API event counts."""
    moment, received = instants.read(event["occurred_at"])[0], instants.read(event["received_at"])[0]
    is_late = not event["consents"][0]["enabled"] and not instants.has_fraction(event["occurred_at"])
    return min(moment + timedelta(microseconds=999_999 if is_late else 0), received)


def exported(stack: Stack, user: str, as_of: str) -> Any:
    """Return the user's consents in an export."""
    line = stack.cluster.psql(
        "SELECT lines FROM pmp.export_page("
        f"(SELECT subject_key - 1 FROM pmp.subject WHERE id = '{user}'), 1, NULL, NULL, '{as_of}')"
    )
    return {choice["id"]: choice["enabled"] for choice in json.loads(line)["consents"]}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=writes, clocks=clocks)
def test_received_denial_holds_despite_clock_differences(
    stack: Stack, writes: list[tuple[int, bool, str, int]], clocks: tuple[int, int]
) -> None:
    api = Gateway()
    user = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
    events: list[dict[str, Any]] = []
    for client, enabled, form, delay in writes:
        answer = choose(api, user, {EMAIL: enabled}, **time_field(form, clocks[client] + delay))
        assert answer.status == 201, answer.content
        events.append(answer.json)
        current = consents(api, user)[EMAIL]
        winner = max(enumerate(events), key=lambda item: (counts_at(item[1]), not _enabled(item[1]), item[0]))[1]
        assert current == _enabled(winner)
        for denial in (event for event in events if not _enabled(event)):
            assert not current or counts_at(winner) > counts_at(denial)
        if not enabled and not answer.json["occurred_at"] < answer.json["received_at"]:
            assert not current
    now = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    assert consents(api, user) == consents(api, user, f"?as_of={now}") == exported(stack, user, now)
    assert stack.cluster.psql(DIFFERENCE) == "0"


def _enabled(event: dict[str, Any]) -> bool:
    return bool(event["consents"][0]["enabled"])
