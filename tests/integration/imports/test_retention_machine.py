"""Events leave while requests come: every state from the edge on is as the model says, of which nothing leaves."""

import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from pmp import database, instants

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.api.test_order import MICROSECOND, Known, Promises, text

EMPTY = """
SET session_replication_role = replica;
TRUNCATE pmp.event, pmp.event_context, pmp.current_choice, pmp.erasure, pmp.removed_event, pmp.retention_edge,
  pmp.retention_walk, pmp.retention_run, pmp.legal_hold;
UPDATE pmp.retention SET removed = 0, policy = '{}';
"""
# Instead of the clock, everything that has an instant is moved.
LATER = """
SET session_replication_role = replica;
UPDATE pmp.event SET received_at = received_at - span, occurred_at = occurred_at - span;
UPDATE pmp.current_choice SET counts_at = counts_at - span;
UPDATE pmp.consent_version SET created_at = created_at - span, superseded_at = superseded_at - span;
UPDATE pmp.erasure SET erased_at = erased_at - span;
UPDATE pmp.subject SET erased_at = erased_at - span;
UPDATE pmp.retention_edge SET edge = edge - span;
UPDATE pmp.retention_walk SET edge = edge - span, erased_at = erased_at - span;
"""
STATE = """
SELECT jsonb_build_object(
  'there', (SELECT coalesce(jsonb_agg(e.id), '[]') FROM pmp.event AS e),
  'gone', (SELECT coalesce(jsonb_agg(r.id), '[]') FROM pmp.removed_event AS r),
  'edges', (
    SELECT coalesce(jsonb_object_agg(k.id, pmp.instant(r.edge)), '{}')
    FROM pmp.retention_edge AS r JOIN pmp.consent AS k USING (consent_key)
  )
)
"""


@dataclass(frozen=True)
class Forgotten:
    """The event of a user who was erased."""

    identifier: str
    consent: str
    erased_at: datetime


class Retained(Promises):
    """The promises of the record, of which events leave in portions of any size, while the clock makes leaps."""

    left_of_users = 0
    left_of_erased = 0

    def __init__(self) -> None:
        self.stack.cluster.psql(EMPTY)
        self.edges: dict[str, datetime] = {}
        self.forgotten: list[Forgotten] = []
        self.days: dict[str, int | None] = {}
        self.hold: tuple[str, str | None] | None = None
        super().__init__()
        self.choose_policy(30, 45)
        # Something to let go from the start; then something of the same age as that, which is not due.
        self.wait(45)
        for which in (1, 0):
            self.tell(which, True, "absent", 0, 0, None, None)
        self.wait(45)
        self.let_leave(1000, 1000)
        for which in (0, 1, 1):
            self.tell(which, True, "absent", 0, 0, None, None)
        self.wait(31)
        self.tell(0, False, "absent", 0, 0, None, None)
        self.let_leave(1000, 1000)

    @rule(first=st.sampled_from([30, 30, 40, None]), second=st.sampled_from([30, 45, None]))
    def choose_policy(self, first: int | None, second: int | None) -> None:
        self.days = dict(zip(self.consents, (first, second), strict=True))

    @rule(days=st.sampled_from([1, 9, 31]))
    def wait(self, days: int) -> None:
        span = timedelta(days=days)
        self.stack.cluster.psql(LATER.replace("span", f"interval '{24 * days} hours'"))
        self.versions = {
            consent: [replace(version, created_at=version.created_at - span) for version in versions]
            for consent, versions in self.versions.items()
        }
        self.events = [self.earlier(event, span) for event in self.events]
        self.edges = {consent: edge - span for consent, edge in self.edges.items()}
        self.forgotten = [replace(one, erased_at=one.erased_at - span) for one in self.forgotten]

    def earlier(self, event: Known, span: timedelta) -> Known:
        body = dict(event.body)
        if "occurred_at" in body:
            form = "microseconds" if event.has_fraction else "seconds"
            body["occurred_at"] = (event.occurred_at - span).isoformat(timespec=form)
        return replace(
            event,
            body=body,
            version=self.versions[event.consent][event.version.number - 1],
            occurred_at=event.occurred_at - span,
            received_at=event.received_at - span,
        )

    @rule(which=st.integers(0, 1), enabled=st.booleans())
    def take_over_another_user(self, which: int, enabled: bool) -> None:
        other = self.api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
        consent = self.consents[which]
        body = {
            "id": str(uuid.uuid4()),
            "user": {"id": other},
            "consents": [{"id": consent, "enabled": enabled}],
        }
        answer = self.api.post("/v1/events", body)
        assert answer.status == 201, answer.content
        assert self.api.post(f"/v1/users/{self.user}/merge", {"from": other}).status == 200
        received = instants.read(answer.json["received_at"])[0]
        version = self.versions[consent][answer.json["consents"][0]["version"] - 1]
        self.events.append(Known(body, consent, enabled, version, received, received, True, len(self.events)))

    @rule(which=st.integers(0, 1), count=st.integers(1, 3))
    def erase_another_user(self, which: int, count: int) -> None:
        other = self.api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
        consents = [{"id": self.consents[which], "enabled": True}]
        bodies = [{"id": str(uuid.uuid4()), "user": {"id": other}, "consents": consents} for _ in range(count)]
        assert all(self.api.post("/v1/events", body).status == 201 for body in bodies)
        assert self.api.delete(f"/v1/users/{other}").status == 200
        erased_at = datetime.now(UTC)
        self.forgotten += [Forgotten(str(body["id"]), self.consents[which], erased_at) for body in bodies]

    @precondition(lambda self: self.hold is None)
    @rule(scope=st.sampled_from(["everything", "user", "consent", "choice"]), waits=st.booleans())
    def place_hold(self, scope: str, waits: bool) -> None:
        """Place a hold, and have something due under it at once or perhaps later."""
        user = f"'{self.user}'" if scope in {"user", "choice"} else "NULL"
        consent = f"'{self.consents[0]}'" if scope in {"consent", "choice"} else "NULL"
        if waits:
            for _ in range(2):
                self.tell(0, False, "absent", 0, 0, None, None)
            self.wait(45)
        placed = self.stack.cluster.psql(f"SELECT pmp.set_legal_hold({user}, {consent}, 'case', 'test')")
        self.hold = (json.loads(placed)["id"], scope)
        if waits:
            self.let_leave(1000, 1000)

    @precondition(lambda self: self.hold is not None)
    @rule()
    def lift_hold(self) -> None:
        assert self.hold
        self.stack.cluster.psql(f"SELECT pmp.lift_legal_hold('{self.hold[0]}', 'test')")
        self.hold = None

    def is_held(self, consent: str, *, is_users: bool) -> bool:
        scope = self.hold[1] if self.hold else None
        return (
            scope == "everything"
            or (scope == "user" and is_users)
            or (scope == "consent" and consent == self.consents[0])
            or (scope == "choice" and is_users and consent == self.consents[0])
        )

    @rule(most=st.sampled_from([1, 2, 1000]), portions=st.sampled_from([1, 3, 1000]))
    def let_leave(self, most: int, portions: int) -> None:
        now, more = datetime.now(UTC), True
        policy = json.dumps({"days": None, "consents": self.days})
        for _ in range(portions):
            ((answer,),) = database.connect().run(
                "SELECT pmp.remove_expired_events(:policy, gen_random_uuid(), :most)", policy=policy, most=most
            )
            assert answer["removed"] <= most
            if not (more := answer["more"]):
                break
        self.look_at_what_left(None if more else now)
        if self.edges:
            edge = max(self.edges.values())
            for limits in ((edge, None), (None, edge), (edge - MICROSECOND, None), (None, edge - MICROSECOND)):
                self.assert_all_reads_agree(*limits)

    def look_at_what_left(self, complete_at: datetime | None) -> None:
        """What has left may have; if all portions were done at an instant, what must have left has."""
        state = json.loads(self.stack.cluster.psql(STATE))
        there, gone = set(state["there"]), set(state["gone"])
        edges = {consent: instants.read(edge)[0] for consent, edge in state["edges"].items()}
        ids = {event.body["id"] for event in self.events} | {one.identifier for one in self.forgotten}
        assert (there | gone, there & gone) == (ids, set()), "an event is neither there nor remembered, or both"
        before, self.gone = self.gone, gone
        assert before <= gone, "an event came back"
        now = datetime.now(UTC)
        for consent, edge in edges.items():
            assert edge >= self.edges.get(consent, edge), "an edge went back"
            days = self.days.get(consent)
            assert edge == self.edges.get(consent) or days is None or edge <= now - timedelta(days=days)
        self.edges = edges
        for event in self.events:
            if event.body["id"] in gone - before:
                type(self).left_of_users += 1
                assert not self.is_held(event.consent, is_users=True), "an event left in spite of a hold"
                assert self.days[event.consent] is not None, "an event left without a policy"
                assert self.is_replaced(event, edges[event.consent]), "an event left on which a choice rests"
            elif complete_at and event.body["id"] not in gone and not self.is_held(event.consent, is_users=True):
                assert not self.is_replaced(event, self.due(event.consent, complete_at)), "an event is overdue"
        for one in self.forgotten:
            due = self.due(one.consent, complete_at or now)
            if one.identifier in gone - before:
                type(self).left_of_erased += 1
                assert not self.is_held(one.consent, is_users=False)
            elif complete_at and one.identifier not in gone and not self.is_held(one.consent, is_users=False):
                assert one.erased_at > due, "an event of an erased user is overdue"

    def due(self, consent: str, now: datetime) -> datetime:
        days = self.days[consent]
        return datetime.min.replace(tzinfo=UTC) if days is None else now - timedelta(days=days)

    def is_replaced(self, event: Known, edge: datetime) -> bool:
        """Whether another choice counts instead among those that were received by the edge."""
        return event.received_at <= edge and any(
            other.consent == event.consent and other.received_at <= edge and other.rank > event.rank
            for other in self.events
        )

    @invariant()
    def ids_of_events_that_have_left_are_refused(self) -> None:
        for event in [event for event in self.events if event.body["id"] in self.gone][-1:]:
            answer = self.api.get(f"/v1/events/{event.body['id']}")
            assert (answer.status, answer.json["type"]) == (410, "urn:pmp:problem:event-removed")
            answer = self.api.post("/v1/events", event.body)
            assert (answer.status, answer.json["type"]) == (409, "urn:pmp:problem:event-removed")

    @rule(which=st.integers(0, 40))
    def repeat(self, which: int) -> None:
        kept = [event for event in self.events if event.body["id"] not in self.gone]
        if kept:
            super().repeat(self.events.index(kept[which % len(kept)]))

    def assert_all_reads_agree(self, as_of: datetime | None, known_at: datetime | None) -> None:
        """From the edge on all reads agree with the model; before it, all are refused and name the edge."""
        edge = max(self.edges.values(), default=None)
        early = self.too_early(edge, as_of, known_at)
        if edge is None or early is None:
            super().assert_all_reads_agree(as_of, known_at)
            return
        limits = {"as_of": text(as_of), "known_at": text(known_at)}
        limits = {name: value for name, value in limits.items() if value}
        query = "&".join(f"{name}={value}" for name, value in limits.items())
        for path in (
            f"/v1/users/{self.user}?",
            f"/v1/users/{self.user}/events?",
            f"/v1/users/{self.user}/consents?",
            f"/v1/users?email={self.email}&",
            f"/v1/users?consent={self.consents[0]}&enabled=true&",
        ):
            answer = self.api.get(path + query)
            assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, early), path
            assert str(text(edge)) in answer.json["detail"]
        asked = {"checks": [{"user": {"id": self.user}, "consent": consent} for consent in self.consents], **limits}
        # A check asks for the edge of its own consents only.
        own = max((self.edges[consent] for consent in self.consents if consent in self.edges), default=None)
        early = self.too_early(own, as_of, known_at)
        if early is None:
            self.assert_checks_agree(as_of, known_at)
        else:
            answer = self.api.post("/v1/check", asked)
            assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/{early}")

    @staticmethod
    def too_early(edge: datetime | None, as_of: datetime | None, known_at: datetime | None) -> str | None:
        """The limit that is before the edge; None: neither."""
        for name, limit in (("as_of", as_of), ("known_at", known_at)):
            if edge is not None and limit is not None and limit < edge:
                return name
        return None

    def teardown(self) -> None:
        # Each example ends with a hold that kept something, and is lifted.
        if self.hold is None:
            self.place_hold(("user", "consent", "choice")[len(self.events) % 3], waits=True)
        self.lift_hold()
        self.let_leave(3, 1000)
        super().teardown()


@pytest.fixture(scope="module")
def stack(own_stack: Stack) -> Stack:
    return own_stack


@pytest.mark.slow
@pytest.mark.parametrize("examples", [3, pytest.param(60, marks=pytest.mark.nightly)])
def test_promises_of_the_record_hold_while_events_leave(stack: Stack, store: ObjectStore, examples: int) -> None:
    Retained.stack = stack
    Retained.left_of_users = Retained.left_of_erased = 0
    run_state_machine_as_test(
        Retained,
        settings=settings(
            max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert Retained.left_of_users > examples, "nothing left: the test is moot"
    if examples > 3:
        assert Retained.left_of_erased
