"""After any sequence of requests, the API agrees with a ten-line model, and the projection with a replay."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from checks.gateway import Gateway
from checks.stack import Stack

CONSENTS = ["email_notifications", "sms_notifications"]
START = datetime(2026, 1, 1, tzinfo=UTC)
DIFFERENCE = """
SELECT count(*) FROM (
  (SELECT c.* FROM pmp.current_choice AS c EXCEPT SELECT r.* FROM pmp.subject AS s, pmp.replay(s.subject_key) AS r)
  UNION ALL
  (SELECT r.* FROM pmp.subject AS s, pmp.replay(s.subject_key) AS r WHERE s.erased_at IS NULL
   EXCEPT SELECT c.* FROM pmp.current_choice AS c)
) AS difference
"""

choices = st.dictionaries(st.sampled_from(CONSENTS), st.booleans(), min_size=1)


class Machine(RuleBasedStateMachine):
    """Random requests that use only a few instants, so that events arrive late, in order, and at the same time."""

    stack: Stack
    users = Bundle("users")
    events = Bundle("events")

    def __init__(self) -> None:
        super().__init__()
        self.api = Gateway()
        self.model: dict[str, list[tuple[datetime, dict[str, bool]]]] = {}
        self.merged: dict[str, str] = {}

    def who(self, user: str) -> str:
        """The user who is meant by an id: the user with it, or into whom that one was merged."""
        while user in self.merged:
            user = self.merged[user]
        return user

    @rule(target=users)
    def register(self) -> str:
        user: str = self.api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
        self.model[user] = []
        return user

    @rule(target=events, user=users, chosen=choices, minute=st.integers(0, 4))
    def choose(self, user: str, chosen: dict[str, bool], minute: int) -> Any:
        moment = START + timedelta(minutes=minute)
        consents = [{"id": name, "enabled": enabled} for name, enabled in chosen.items()]
        body = {"id": str(uuid.uuid4()), "user": {"id": user}, "consents": consents, "occurred_at": moment.isoformat()}
        answer = self.api.post("/v1/events", body)
        if self.who(user) not in self.model:
            assert answer.status == 410
            return multiple()
        assert (answer.status, answer.json["user"]["id"]) == (201, self.who(user)), answer.content
        self.model[self.who(user)].append((moment, chosen))
        return body

    @rule(body=events)
    def send_again(self, body: dict[str, Any]) -> None:
        expected = 200 if self.who(body["user"]["id"]) in self.model else 410
        assert self.api.post("/v1/events", body).status == expected

    @rule(user=consumes(users))
    def erase(self, user: str) -> None:
        expected = 200 if self.model.pop(self.who(user), None) is not None else 410
        assert self.api.delete(f"/v1/users/{user}").status == expected

    @rule(user=users, other=users)
    def merge(self, user: str, other: str) -> None:
        answer = self.api.post(f"/v1/users/{user}/merge", {"from": other})
        remaining, gone = self.who(user), self.who(other)
        if user == other:
            assert answer.status == 422
        elif remaining not in self.model:
            assert answer.status == 410
        elif gone not in self.model:
            assert answer.status == 422
        else:
            assert (answer.status, answer.json["id"]) == (200, remaining), answer.content
            if remaining != gone:
                self.model[remaining] += self.model.pop(gone)
                self.merged[gone] = remaining

    @rule(user=users, minute=st.integers(-1, 5))
    def look_back(self, user: str, minute: int) -> None:
        moment = START + timedelta(minutes=minute)
        answer = self.api.get(f"/v1/users/{user}?as_of={moment.isoformat().replace('+', '%2B')}")
        if self.who(user) in self.model:
            assert self.shown(answer.json) == self.fold(self.who(user), moment)

    @rule(user=users)
    def check(self, user: str) -> None:
        question = {"checks": [{"user": {"id": user}, "consent": name} for name in CONSENTS]}
        results = self.api.post("/v1/check", question).json["results"]
        meant = self.who(user)
        folded = self.fold(meant, START + timedelta(days=1)) if meant in self.model else {}
        assert [result["allowed"] for result in results] == [folded.get(name, False) for name in CONSENTS]

    @staticmethod
    def shown(document: dict[str, Any]) -> dict[str, bool]:
        return {choice["id"]: choice["enabled"] for choice in document["consents"]}

    def fold(self, user: str, until: datetime) -> dict[str, bool]:
        state: dict[str, tuple[datetime, bool]] = {}
        for moment, chosen in self.model[user]:
            for name, enabled in chosen.items():
                # The time has no fraction of a second: a denial counts from the end of that second.
                counts = moment + timedelta(microseconds=0 if enabled else 999_999)
                if counts <= until and (name not in state or counts >= state[name][0]):
                    state[name] = (counts, enabled)
        return {name: enabled for name, (_, enabled) in state.items()}

    @invariant()
    def every_user_reads_as_the_model_says(self) -> None:
        for user in self.model:
            assert self.shown(self.api.get(f"/v1/users/{user}").json) == self.fold(user, START + timedelta(days=1))

    def teardown(self) -> None:
        assert self.stack.cluster.psql(DIFFERENCE).strip() == "0"


@pytest.mark.slow
def test_any_sequence_of_requests_agrees_with_the_model(stack: Stack) -> None:
    Machine.stack = stack
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
