"""Clients with different clocks: a received denial holds, and all ways to read agree with a model, at every instant."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pmp import database, instants

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_stateful import DIFFERENCE

FORMS = ("absent", "seconds", "microseconds")
WAYS = ("alone", "by address", "in a batch")
MICROSECOND = timedelta(microseconds=1)
DAY = 86400


def text(moment: datetime | None) -> str | None:
    """Return the instant in RFC 3339, in UTC with microseconds."""
    return None if moment is None else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Version:
    """A version of a consent, as the API returned it."""

    number: int
    created_at: datetime
    expires_after: timedelta | None


@dataclass(frozen=True)
class Known:
    """An event with one choice, as the API returned it."""

    body: dict[str, Any]
    consent: str
    enabled: bool
    version: Version
    occurred_at: datetime
    received_at: datetime
    has_fraction: bool
    place: int

    @property
    def counts_at(self) -> datetime:
        """From when the choice counts."""
        late = timedelta() if self.enabled or self.has_fraction else timedelta(microseconds=999_999)
        return min(self.occurred_at + late, self.received_at)

    @property
    def rank(self) -> tuple[datetime, bool, int]:
        """The greatest of a consent's choices is in force."""
        return self.counts_at, not self.enabled, self.place


class Promises(RuleBasedStateMachine):
    """One user, two consents, and two clients whose clocks differ by up to five minutes."""

    stack: Stack

    def __init__(self) -> None:
        super().__init__()
        self.api = Gateway()
        name = uuid.uuid4().hex
        self.email = f"{name}@example.com"
        self.user: str = self.api.post("/v1/users", {"email": self.email}).json["id"]
        self.versions: dict[str, list[Version]] = {f"a{name[:20]}": [], f"b{name[:20]}": []}
        self.consents = list(self.versions)
        self.events: list[Known] = []
        # Ids of events that have left: no state that can be asked for shows it.
        self.gone: set[str] = set()
        # The second one's grants expire: what was chosen two days ago answers the first version.
        self.put(self.consents[0], None)
        self.put(self.consents[1], 1)
        # A denial must outlive that.
        self.tell(1, False, "microseconds", 0, 2 * DAY, None, None)

    def put(self, consent: str, days: int | None) -> None:
        body = {"description": f"Wording {uuid.uuid4()}", "channel": "web", "expires_after_days": days}
        answer = self.api.put(f"/v1/consents/{consent}", body).json
        created_at = instants.read(answer["created_at"])[0]
        self.versions[consent].append(
            Version(answer["version"], created_at, timedelta(hours=24 * days) if days else None)
        )

    # What clients do.

    @rule(which=st.integers(0, 1), days=st.sampled_from([None, 1]))
    def reword(self, which: int, days: int | None) -> None:
        self.put(self.consents[which], days)

    @rule(
        which=st.integers(0, 1),
        enabled=st.booleans(),
        form=st.sampled_from(FORMS),
        clock=st.sampled_from([-2, 0, 0, 1, 299]),
        delay=st.sampled_from([0, 0, 1, 2, 2 * DAY]),
        named=st.sampled_from([None, None, 0, -1]),
        again=st.sampled_from([None, None, -1, 0]),
        way=st.sampled_from(WAYS),
    )
    def tell(  # noqa: PLR0917
        self,
        which: int,
        enabled: bool,
        form: str,
        clock: int,
        delay: int,
        named: int | None,
        again: int | None,
        way: str = "alone",
    ) -> None:
        """Tell a choice made ``delay`` seconds ago by the client's clock, or contradict an event at its instant."""
        consent = self.consents[which]
        contradicted = self.events[again] if again is not None and self.events else None
        if contradicted:
            consent, enabled, form = contradicted.consent, not contradicted.enabled, "microseconds"
        choice: dict[str, Any] = {"id": consent, "enabled": enabled}
        if named is not None:
            choice["version"] = self.versions[consent][named].number
        user = {"email": self.email} if way == "by address" else {"id": self.user}
        body: dict[str, Any] = {"id": str(uuid.uuid4()), "user": user, "consents": [choice]}
        before = datetime.now(UTC)
        told = before + timedelta(seconds=clock - delay)
        if contradicted:
            told = contradicted.occurred_at
        if form != "absent":
            body["occurred_at"] = told.isoformat(timespec=form)
            told = instants.read(body["occurred_at"])[0]
        covered = told.replace(microsecond=999_999) if form == "seconds" else told
        status, event = self.send(body, way)
        if named is not None and form != "absent" and min(covered, before) < self.versions[consent][named].created_at:
            assert status == 422
            assert event["errors"][0]["pointer"].endswith("/consents/0/version")
            return
        assert status == 201, event
        received = instants.read(event["received_at"])[0]
        shown = event["consents"][0]["version"]
        if named is None:
            at = received if form == "absent" else min(covered, received)
            in_force = [version for version in self.versions[consent] if version.created_at <= at]
            assert shown == (in_force or self.versions[consent][:1])[-1].number
        else:
            assert shown == choice["version"]
        known = Known(
            body=body,
            consent=consent,
            enabled=enabled,
            version=self.versions[consent][shown - 1],
            occurred_at=received if form == "absent" else told,
            received_at=received,
            has_fraction=form != "seconds",
            place=len(self.events),
        )
        assert event["occurred_at"] == (
            body["occurred_at"].replace("+00:00", "Z") if form == "seconds" else text(known.occurred_at)
        )
        self.events.append(known)
        self.assert_effect_is_told(event, known)
        if not enabled and not known.occurred_at < known.received_at:
            assert self.check(None, None)[consent] == (False, "denied", text(known.counts_at))

    def send(self, body: dict[str, Any], way: str) -> tuple[int, dict[str, Any]]:
        """Send an event, and return its status with the event or problem that the API returned."""
        if way != "in a batch":
            answer = self.api.post("/v1/events", body)
            return answer.status, answer.json
        bad = {**body, "id": str(uuid.uuid4()), "consents": [{"id": "no_such", "enabled": True}]}
        answer = self.api.post("/v1/events:batch", {"events": [bad, body, body, "nothing"]})
        before, result, again, nothing = answer.json["results"]
        assert (before["status"], nothing["status"]) == (422, 422)
        if "problem" in result:
            return result["status"], result["problem"]
        assert again == {**result, "status": 200}
        event = self.api.get(f"/v1/events/{body['id']}").json
        told = {name: value for name, value in result.items() if name != "status"}
        assert {name: event.get(name) for name in ("id", "user", "received_at")} | told == told
        return result["status"], event | told

    def assert_effect_is_told(self, event: dict[str, Any], known: Known) -> None:
        winner = self.state(None, None)[known.consent]
        if winner is known:
            assert "overridden" not in event
            return
        tied = winner.counts_at == known.counts_at
        assert event["overridden"] == [
            {
                "id": known.consent,
                "enabled": winner.enabled,
                "since": text(winner.counts_at),
                "reason": "denial_at_same_instant" if tied else "later_choice",
            }
        ]

    @rule(which=st.integers(0, 40))
    def repeat(self, which: int) -> None:
        if not self.events:
            return
        known = self.events[which % len(self.events)]
        answer = self.api.post("/v1/events", known.body)
        assert answer.status == 200, answer.content
        self.assert_effect_is_told(answer.json, known)
        other = [{**known.body["consents"][0], "enabled": not known.enabled}]
        assert self.api.post("/v1/events", known.body | {"consents": other}).status == 409

    # What they must see.

    def state(self, as_of: datetime | None, known_at: datetime | None) -> dict[str, Known]:
        """Return the choice in force by consent."""
        folded: dict[str, Known] = {}
        for event in self.visible(as_of, known_at):
            if event.consent not in folded or event.rank > folded[event.consent].rank:
                folded[event.consent] = event
        return folded

    def visible(self, as_of: datetime | None, known_at: datetime | None) -> list[Known]:
        return [
            event
            for event in self.events
            if (as_of is None or event.counts_at <= as_of) and (known_at is None or event.received_at <= known_at)
        ]

    def expected(self, as_of: datetime | None, known_at: datetime | None) -> dict[str, str]:
        """Return given, denied or expired by consent; consents without a choice are missing."""
        at = as_of or known_at or datetime.now(UTC)
        words = {}
        for consent, event in self.state(as_of, known_at).items():
            limit = event.version.expires_after
            gone = event.enabled and limit is not None and event.counts_at + limit <= at
            words[consent] = "expired" if gone else "given" if event.enabled else "denied"
        return words

    def check(self, as_of: datetime | None, known_at: datetime | None) -> dict[str, tuple[bool, str, str | None]]:
        pairs = [
            {"user": user, "consent": consent}
            for consent in self.consents
            for user in ({"id": self.user}, {"email": self.email})
        ]
        body = {"checks": pairs, "as_of": text(as_of), "known_at": text(known_at)}
        answer = self.api.post("/v1/check", {name: value for name, value in body.items() if value is not None})
        assert answer.status == 200, answer.content
        results = [(one["allowed"], one["reason"], one["since"]) for one in answer.json["results"]]
        assert results[::2] == results[1::2]
        return dict(zip(self.consents, results[::2], strict=True))

    @rule(as_of=st.integers(0, 40), known_at=st.integers(0, 40))
    def look_back(self, as_of: int, known_at: int) -> None:
        """Look at two of the instants at which something changes, or at none."""
        found = {moment for event in self.events for moment in (event.counts_at, event.received_at)}
        moments = [None, *sorted(found | {moment - MICROSECOND for moment in found})]
        self.assert_all_reads_agree(moments[as_of % len(moments)], moments[known_at % len(moments)])

    @invariant()
    def present_state_is_the_same_everywhere(self) -> None:
        self.assert_all_reads_agree(None, None)
        for consent, (allowed, _, since) in self.check(None, None).items():
            denials = [event.counts_at for event in self.events if event.consent == consent and not event.enabled]
            assert not allowed or not denials or since > text(max(denials))  # type: ignore[operator]

    def assert_checks_agree(self, as_of: datetime | None, known_at: datetime | None) -> None:
        expected, folded = self.expected(as_of, known_at), self.state(as_of, known_at)
        assert self.check(as_of, known_at) == {
            consent: (
                expected.get(consent) == "given",
                expected.get(consent, "not_given"),
                text(folded[consent].counts_at) if consent in folded else None,
            )
            for consent in self.consents
        }, "check"

    def assert_all_reads_agree(self, as_of: datetime | None, known_at: datetime | None) -> None:
        query = "".join(
            f"&{name}={text(value)}" for name, value in (("as_of", as_of), ("known_at", known_at)) if value is not None
        )
        expected = self.expected(as_of, known_at)

        def words(document: dict[str, Any]) -> dict[str, str]:
            return {
                choice["id"]: choice.get("reason") or ("given" if choice["enabled"] else "denied")
                for choice in document["consents"]
            }

        answer = self.api.get(f"/v1/users/{self.user}?{query[1:]}")
        assert answer.status == 200, answer.content
        assert words(answer.json) == expected, "user"
        self.assert_checks_agree(as_of, known_at)
        listed = self.api.get(f"/v1/users?email={self.email}{query}").json["items"]
        assert [words(user) for user in listed] == [expected], "list"
        for consent in self.consents:
            for enabled, word in ((True, "given"), (False, "denied")):
                path = f"/v1/users?consent={consent}&enabled={str(enabled).lower()}{query}"
                found = [words(user) for user in self.api.get(path).json["items"]]
                assert found == ([expected] if expected.get(consent) == word else []), "list by choice"
        events = self.api.get(f"/v1/users/{self.user}/events?limit=500{query}").json["items"]
        shown = {event.body["id"] for event in self.visible(as_of, known_at)} - self.gone
        assert {event["id"] for event in events} == shown
        # An export always names both instants.
        now = datetime.now(UTC)
        ((line,),) = database.connect().run(
            "SELECT lines FROM pmp.export_page((SELECT subject_key - 1 FROM pmp.subject WHERE id = :user), 1,"
            " NULL, NULL, CAST(:as_of AS timestamptz), CAST(:known_at AS timestamptz))",
            user=self.user,
            as_of=text(as_of or known_at or now),
            known_at=text(known_at or now),
        )
        assert words(json.loads(line)) == expected, "export"

    def teardown(self) -> None:
        for moment in sorted({event.counts_at for event in self.events})[:3]:
            self.assert_all_reads_agree(moment, None)
        assert self.stack.cluster.psql(DIFFERENCE).strip() == "0"


@pytest.mark.slow
def test_all_promises_of_the_record_hold_for_any_sequence_of_requests(stack: Stack) -> None:
    Promises.stack = stack
    run_state_machine_as_test(
        Promises,
        settings=settings(
            max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
