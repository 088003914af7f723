"""What leaves by its age leaves no trace in any state that can be asked for."""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmp import housekeeping

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from ops import holds
from ops.errors import UserError
from tests.integration.imports.conftest import (
    Context,
    announced,
    assert_projection_equals_replay,
    event,
    ndjson,
)
from tests.integration.imports.simulated_record import CONSENTS, Record
from tests.integration.imports.test_feed import following

EMAIL, SMS = "email_notifications", "sms_notifications"
POLICIES = (
    '{"days": 30, "consents": {}}',
    '{"days": 40, "consents": {"sms_notifications": 70, "letters": null}}',
    '{"days": null, "consents": {"email_notifications": 90}}',
)

people = st.integers(1, 4)
operations = st.one_of(
    st.tuples(
        st.just("event"),
        people,
        st.dictionaries(st.sampled_from(CONSENTS), st.booleans(), min_size=1, max_size=2),
        st.sampled_from((None, None, 0, 1, 20, 100)),
    ),
    # A clock that is set back, too.
    st.tuples(st.just("wait"), st.sampled_from((1, 10, 40, -0.002, -1, -35))),
    st.tuples(st.just("leave"), st.sampled_from((1, 3, 1000)), st.sampled_from((1, 2, 1000))),
    st.tuples(st.just("merge"), people, people),
    st.tuples(st.just("erase"), people),
    st.tuples(st.just("hold"), st.sampled_from((None, 1, 2)), st.sampled_from((None, *CONSENTS))),
    st.tuples(st.just("lift")),
    st.tuples(st.just("policy"), st.sampled_from(POLICIES)),
    st.tuples(st.just("export"), st.sampled_from(("users", "choices", "events")), st.sampled_from((0, 20, 50))),
    st.tuples(st.just("exported")),
)


@pytest.fixture(scope="module")
def stack(own_stack: Stack) -> Stack:
    return own_stack


@pytest.fixture
def api(store: ObjectStore, stack: Stack) -> Iterator[Gateway]:
    yield Gateway()
    # As if this test's events and jobs had never left anything behind.
    stack.cluster.psql(
        "UPDATE pmp.legal_hold SET lifted_at = now(), lifted_by = 'test' WHERE lifted_at IS NULL;"
        "UPDATE pmp.subscription SET is_enabled = false, deleted_at = now() WHERE deleted_at IS NULL;"
        "DELETE FROM pmp.retention_edge; DELETE FROM pmp.retention_walk"
    )


def simulated(steps: list[tuple[Any, ...]], policy: str) -> Record:
    """A record to which these operations happened, up to the last event that is due."""
    record = Record(4, policy)
    for kind, *values in steps:
        match kind, values:
            case "event", [who, choices, told]:
                record.add_event(who, choices, told)
            case "wait", [days]:
                record.wait(days)
            case "leave", [most, portions]:
                record.let_leave(most, portions)
            case "merge", [who, other]:
                record.merge(who, other)
            case "erase", [who]:
                record.erase(who)
            case "hold", [who, consent]:
                record.hold(who, consent, "hold")
            case "lift", []:
                record.lift("hold")
            case "policy", [chosen]:
                record.policy = chosen
            case "export", [contents, days]:
                record.begin_export(contents, days)
            case "exported", []:
                record.end_exports()
    record.lift("hold")
    record.end_exports()
    record.let_leave()
    record.day = record.latest + 100
    record.let_all_leave(3)
    return record


@pytest.mark.slow
def test_no_state_from_the_edge_on_shows_what_has_left(stack: Stack) -> None:
    left: list[int] = []

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(operations, min_size=20, max_size=60), st.sampled_from(POLICIES))
    def agrees(steps: list[tuple[Any, ...]], policy: str) -> None:
        left.append(int(stack.cluster.psql(simulated(steps, policy).script("SELECT count(*) FROM pmp.removed_event;"))))

    agrees()
    assert max(left) > 5, "nothing left: the test is moot"


def a_year(days: int, users: int, a_day: int, seed: int = 1) -> Record:
    """Days in each of which some users choose, some old choices arrive, and the housekeeping runs."""
    source = random.Random(seed)
    record = Record(users, POLICIES[1])
    for day in range(days):
        record.day = max(record.day, float(day))
        for _ in range(a_day):
            chosen = {name: source.random() < 0.5 for name in source.sample(CONSENTS, source.randint(1, 2))}
            record.add_event(source.randint(1, users), chosen, source.choice((None, None, None, 0, 3, 100)))
        if source.random() < 0.05:
            record.merge(source.randint(1, users), source.randint(1, users))
        if source.random() < 0.03:
            record.erase(source.randint(1, users))
        record.let_leave(10, compares=day % 30 == 29)
    record.let_all_leave()
    return record


@pytest.mark.slow
@pytest.mark.parametrize(("days", "users", "a_day"), [(120, 6, 1), pytest.param(365, 20, 6, marks=pytest.mark.nightly)])
def test_year_of_choices_ends_as_if_nothing_had_left(stack: Stack, days: int, users: int, a_day: int) -> None:
    answer = stack.cluster.psql(
        a_year(days, users, a_day).script(
            "SELECT (SELECT count(*) FROM shadow), (SELECT count(*) FROM pmp.removed_event),"
            " (SELECT count(*) FROM pmp.event);"
        )
    )
    events, removed, remaining = map(int, answer.split("|"))
    assert events == removed + remaining
    assert removed > 0.2 * events, answer


LIVE = '{"days": 30, "consents": {}}'
ONE = [{"id": EMAIL, "enabled": True}]


def test_hold_keeps_what_it_names_until_it_is_lifted(stack: Stack) -> None:
    for who, consent, left in (
        (1, None, 1),
        (None, EMAIL, 0),
        (1, EMAIL, 1),
        (None, None, 0),
        (2, None, 1),
        (None, SMS, 2),
    ):
        record = Record(2, LIVE)
        for person in (1, 2):
            record.add_event(person, {EMAIL: True}, None)
            record.add_event(person, {EMAIL: False}, None)
        record.hold(who, consent, "hold")
        record.day += 31
        record.let_leave()
        held = "SELECT count(*) FROM pmp.removed_event;"
        assert int(stack.cluster.psql(record.script(held))) == left, (who, consent)
        edges = int(stack.cluster.psql(record.script("SELECT count(*) FROM pmp.retention_edge;")))
        assert (edges == 0) == ((who, consent) == (None, None)), "no edge moves while everything is held"
        record.lift("hold")
        record.let_all_leave()
        assert int(stack.cluster.psql(record.script(held))) == 2


def test_denial_counts_among_choices_of_the_same_instant_that_leave(stack: Stack) -> None:
    record = Record(1, LIVE)
    # Each second one is told with a fraction of a second: both count at the same instant.
    for choice in ({SMS: True}, {EMAIL: False}, {SMS: True}, {EMAIL: True}):
        record.add_event(1, choice, 0)
    record.day += 31
    record.let_all_leave()
    left = "SELECT string_agg(right(id::text, 1), ',' ORDER BY id) FROM pmp.removed_event;"
    assert stack.cluster.psql(record.script(left)) == "1,4"


def test_another_policy_looks_at_all_events_again(stack: Stack) -> None:
    record = Record(1, '{"days": 30, "consents": {"sms_notifications": null}}')
    for _ in range(3):
        record.add_event(1, {EMAIL: True}, None)
        record.add_event(1, {EMAIL: True, SMS: True}, None)
    record.day += 31
    record.let_all_leave()
    record.policy = LIVE
    record.let_all_leave()
    assert int(stack.cluster.psql(record.script("SELECT count(*) FROM pmp.removed_event;"))) == 5


def let_leave(
    stack: Stack, policy: str = LIVE, most: int = 1000, portions: int = 1_000_000, before_commit: str = ""
) -> int:
    """As the housekeeping in 30 days and a second would.

    Returns:
        How many events left.
    """
    removed: int = 0
    for _ in range(portions):
        answer: dict[str, Any] = json.loads(
            stack.cluster.psql(
                f"BEGIN; SELECT pmp.remove_expired_events_at('{policy}', gen_random_uuid(), {most},"
                f" clock_timestamp() + interval '30 days 1 second'); {before_commit} COMMIT;"
            ).splitlines()[0]
        )
        removed += int(answer["removed"])
        if not answer["more"]:
            break
    return removed


def chosen(api: Gateway, user: str, *, enabled: bool = True, consent: str = EMAIL, **more: Any) -> dict[str, Any]:
    """Record a choice; returns the event as it was sent, and when it was received."""
    body = {"id": str(uuid.uuid4()), "user": {"id": user}, "consents": [{"id": consent, "enabled": enabled}], **more}
    answer = api.post("/v1/events", body)
    assert answer.status == 201, answer.content
    return body | {"received_at": answer.json["received_at"]}


def registered(api: Gateway) -> str:
    identifier: str = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
    return identifier


def test_state_from_before_the_edge_is_refused_and_names_it(api: Gateway, stack: Stack) -> None:
    user = registered(api)
    before, edge = chosen(api, user)["received_at"], chosen(api, user, enabled=False)["received_at"]
    chosen(api, user, consent=SMS)
    assert let_leave(stack, '{"days": null, "consents": {"email_notifications": 30}}') == 1
    edge = stack.cluster.psql("SELECT pmp.instant(max(edge)) FROM pmp.retention_edge")
    reads = [
        f"/v1/users/{user}?",
        f"/v1/users/{user}/consents?",
        f"/v1/users/{user}/events?",
        "/v1/users?",
        "/v1/users?email=nobody@example.com&",
        f"/v1/users?consent={EMAIL}&enabled=true&",
    ]
    for path in reads:
        for name in ("as_of", "known_at"):
            answer = api.get(f"{path}{name}={before}")
            assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, name), (path, answer.content)
            assert edge in answer.json["detail"]
            assert api.get(f"{path}{name}={edge}").status == 200, path
    asked = {"checks": [{"user": {"id": user}, "consent": EMAIL}], "known_at": before}
    answer = api.post("/v1/check", asked)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/known_at"), answer.content
    assert api.post("/v1/check", asked | {"known_at": edge}).json["results"][0]["reason"] == "denied"
    # Nothing of this consent has left.
    assert api.post("/v1/check", {"checks": [{"user": {"id": user}, "consent": SMS}], "as_of": before}).status == 200
    for name in ("as_of", "known_at"):
        answer = api.post("/v1/exports", {name: before})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/{name}"), answer.content
        assert edge in answer.json["detail"]
    assert api.get(f"/v1/users/{user}").status == 200


def test_id_of_an_event_that_has_left_is_never_given_again(api: Gateway, stack: Stack, store: ObjectStore) -> None:
    address = f"{uuid.uuid4().hex}@example.com"
    user = api.post("/v1/users", {"email": address}).json["id"]
    old = chosen(api, user)
    kept = chosen(api, user, enabled=False)
    assert let_leave(stack) >= 1
    path = f"/v1/events/{old['id']}"
    answer = api.get(path)
    assert (answer.status, answer.json["type"]) == (410, "urn:pmp:problem:event-removed"), answer.content
    assert [api.request("HEAD", path).status, api.get(f"{path}?decode=true").status] == [410, 410]
    assert api.get(f"/v1/events/{uuid.uuid4()}").status == 404
    again = {"id": old["id"], "user": old["user"], "consents": old["consents"]}
    answer = api.post("/v1/events", again)
    assert (answer.status, answer.json["type"]) == (409, "urn:pmp:problem:event-removed"), answer.content
    results = api.post(
        "/v1/events:batch", {"events": [again, again | {"id": kept["id"], "consents": kept["consents"]}]}
    )
    assert [one["status"] for one in results.json["results"]] == [409, 200], results.content
    fresh = f"{uuid.uuid4().hex}@example.com"
    answer = api.post("/v1/events", again | {"user": {"email": fresh}, "upsert": True})
    assert answer.json["type"] == "urn:pmp:problem:event-removed", answer.content
    assert api.get(f"/v1/users?email={fresh}").json["items"] == []

    lines = [event(address, id=old["id"]), event(address), event(fresh, id=old["id"])]
    for dry_run in (True, False):
        job = announced(stack, store, ndjson(lines), dry_run=dry_run)
        assert (job["lines"], job["accepted"], job["rejected"]) == (3, 1, 2), job
        assert job["reasons"] == {"event_removed": 2}
    assert api.get(f"/v1/users?email={fresh}").json["items"] == []
    assert_projection_equals_replay(stack)


def beside_a_portion(stack: Stack, act: Callable[[], None], most: int = 1000) -> None:
    """Do something between a portion and its COMMIT, which has to wait for it."""
    stack.cluster.psql("CREATE TABLE IF NOT EXISTS public.released (); TRUNCATE public.released")
    until_released = (
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM public.released) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;"
    )
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND "
    with ThreadPoolExecutor(2) as threads:
        leaving = threads.submit(let_leave, stack, LIVE, most, 1, until_released)
        while not leaving.done() and stack.cluster.psql(f"{active} wait_event = 'PgSleep'") == "0":
            time.sleep(0.02)
        acting = threads.submit(act)
        while not acting.done() and stack.cluster.psql(f"{active} wait_event_type = 'Lock'") == "0":
            time.sleep(0.02)
        has_waited = not acting.done() and not leaving.done()
        stack.cluster.psql("INSERT INTO public.released DEFAULT VALUES")
        leaving.result()
        acting.result()
    assert has_waited


@pytest.mark.parametrize("by_import", [True, False])
@pytest.mark.parametrize("of_another", [True, False])
def test_event_that_comes_again_while_it_leaves_is_refused(
    api: Gateway, stack: Stack, store: ObjectStore, by_import: bool, of_another: bool
) -> None:
    address, other = f"{uuid.uuid4().hex}@example.com", f"{uuid.uuid4().hex}@example.com"
    user, another = (api.post("/v1/users", {"email": email}).json["id"] for email in (address, other))
    old = chosen(api, user)
    chosen(api, user, enabled=False)
    sender = other if of_another else address

    def come_again() -> None:
        if by_import:
            job = announced(stack, store, ndjson([event(sender, id=old["id"]), event(sender)]))
            assert (job["accepted"], job["reasons"]) == (1, {"event_removed": 1}), job
            return
        body = {"id": old["id"], "user": {"id": another if of_another else user}, "consents": old["consents"]}
        answer = api.post("/v1/events", body)
        if of_another:
            # The other user is not locked by the portion; what waited for it is undone.
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), answer.content
            answer = api.post("/v1/events", body)
        assert answer.json["type"] == "urn:pmp:problem:event-removed", answer.content

    beside_a_portion(stack, come_again)
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.event WHERE id = '{old['id']}'") == "0"
    assert_projection_equals_replay(stack)


def test_two_runs_at_once_remove_everything_once(api: Gateway, stack: Stack) -> None:
    user = registered(api)
    for number in range(9):
        chosen(api, user, enabled=number % 2 == 0)
    stack.cluster.psql(RECORDS.partition(";")[0])
    records = "SELECT pmp.remove_expired_records('imports', 90, gen_random_uuid(), 1000)"
    before = int(stack.cluster.psql("SELECT r.removed FROM pmp.retention AS r"))
    with ThreadPoolExecutor(2) as runs:
        removed = sum(runs.map(lambda _: let_leave(stack, LIVE, 3), range(2)))
        jobs = sum(int(count) for count in runs.map(lambda _: stack.cluster.psql(records), range(2)))
    assert removed >= 8
    ids = int(stack.cluster.psql("SELECT count(*) FROM pmp.removed_event"))
    assert removed == int(stack.cluster.psql("SELECT r.removed FROM pmp.retention AS r")) - before
    assert ids == removed + before
    # The file of one is still there.
    assert jobs == 2
    stack.cluster.psql("DELETE FROM pmp.import_job WHERE client = 'old'")


def test_hold_that_comes_in_the_middle_keeps_what_is_still_there(api: Gateway, stack: Stack) -> None:
    let_leave(stack)
    first, second = registered(api), registered(api)
    events = [chosen(api, user, enabled=number == 0) for user in (first, second) for number in range(2)]
    place = f"SELECT pmp.set_legal_hold('{second}', NULL, 'case', 'test')"
    beside_a_portion(stack, lambda: print(stack.cluster.psql(place)), most=2)
    assert let_leave(stack) == 0
    assert [api.get(f"/v1/events/{one['id']}").status for one in events] == [410, 200, 200, 200]


def test_what_receivers_were_not_told_stays_whenever_it_was_received(api: Gateway, stack: Stack) -> None:
    first, second = registered(api), registered(api)
    early, late = chosen(api, first), chosen(api, first, enabled=False)
    erased = chosen(api, second)
    assert api.delete(f"/v1/users/{second}").status == 200
    # As if a clock had been set back between the two: the first one was received last, and counts.
    stack.cluster.psql(
        "SET session_replication_role = replica;"
        "UPDATE pmp.event AS e SET received_at = f.at, occurred_at = f.at"
        " FROM (SELECT received_at - interval '1 second' AS at"
        f" FROM pmp.event WHERE id = '{early['id']}') AS f WHERE e.id = '{late['id']}';"
        "UPDATE pmp.current_choice AS c SET sequence = e.sequence, counts_at = e.received_at, enabled = true"
        f" FROM pmp.event AS e WHERE e.id = '{early['id']}' AND c.subject_key = e.subject_key"
    )
    assert api.post("/v1/subscriptions", {"url": "https://receiver.example.com/"}).status == 201
    stack.cluster.psql(
        "UPDATE pmp.delivery_lane AS l SET number = e.transaction_number, sequence = e.sequence"
        f" FROM pmp.event AS e WHERE e.id = '{early['id']}'"
    )
    let_leave(stack)
    statuses = [api.get(f"/v1/events/{one['id']}").status for one in (early, late, erased)]
    assert statuses == [200, 200, 200]
    stack.cluster.psql("UPDATE pmp.delivery_lane SET number = pmp.feed_horizon()")
    let_leave(stack)
    statuses = [api.get(f"/v1/events/{one['id']}").status for one in (early, late, erased)]
    assert statuses == [200, 410, 410]
    assert_projection_equals_replay(stack)


def test_event_of_an_erased_user_that_has_left_answers_as_any_other(api: Gateway, stack: Stack) -> None:
    user, other = registered(api), registered(api)
    old, last = chosen(api, user), chosen(api, other)
    chosen(api, user, enabled=False)
    assert api.delete(f"/v1/users/{other}").status == 200
    assert api.get(f"/v1/events/{last['id']}").status == 200
    let_leave(stack)
    answers = [api.get(f"/v1/events/{one['id']}").json for one in (old, last)]
    for answer in answers:
        del answer["request_id"]
        answer.pop("instance", None)
    assert answers[0] == answers[1]
    assert answers[0]["status"] == 410
    assert user not in str(answers)


def test_denial_of_a_hash_takes_no_id_of_an_event_that_has_left(api: Gateway, stack: Stack) -> None:
    old = chosen(api, registered(api))
    chosen(api, old["user"]["id"], enabled=False)
    assert let_leave(stack) >= 1
    address = f"{uuid.uuid4().hex}@example.com"
    # As an import of hashes kept it before somebody else used its id.
    stack.cluster.psql(
        f"INSERT INTO pmp.suppression VALUES ('{old['id']}', pmp.address_digest('{address}'), now(), now(),"
        " pmp.source_key('test'), true, true, '{1}', '{f}')"
    )
    user = api.post("/v1/users", {"email": address}).json["id"]
    (found,) = api.get(f"/v1/users/{user}/events").json["items"]
    assert found["id"] != old["id"]
    assert api.get(f"/v1/events/{old['id']}").status == 410


def test_clock_that_is_set_back_removes_nothing_more(api: Gateway, stack: Stack) -> None:
    user = registered(api)
    old = chosen(api, user)
    chosen(api, user, enabled=False)
    assert let_leave(stack) >= 1
    edges = stack.cluster.psql("SELECT * FROM pmp.retention_edge ORDER BY 1")
    chosen(api, user)
    back = f"SELECT pmp.remove_expired_events_at('{LIVE}', gen_random_uuid(), 10, now() - interval '9 years')"
    assert json.loads(stack.cluster.psql(back)) == {"more": False, "removed": 0}
    assert stack.cluster.psql("SELECT * FROM pmp.retention_edge ORDER BY 1") == edges
    assert api.get(f"/v1/users/{user}?as_of={old['received_at']}").status == 422


def test_feed_goes_on_where_events_have_left_and_receivers_are_told_first(api: Gateway, stack: Stack) -> None:
    user = registered(api)
    _, start = following(api, "/v1/events", None, 500)
    old, kept = chosen(api, user), chosen(api, user, enabled=False)
    page = api.get(f"/v1/events?limit=1&cursor={start}").json
    assert [one["id"] for one in page["items"]] == [old["id"]]
    made = api.post("/v1/subscriptions", {"url": "https://receiver.example.com/"})
    assert made.status == 201, made.content
    stack.cluster.psql("UPDATE pmp.delivery_lane SET number = 0, sequence = 0")
    assert let_leave(stack) == 0
    stack.cluster.psql("UPDATE pmp.delivery_lane SET number = pmp.feed_horizon()")
    assert let_leave(stack) >= 1
    for cursor in (start, page["resume"]):
        assert following(api, "/v1/events", cursor)[0] == [kept["id"]]


def test_event_of_a_confirmation_stays_until_it_has_expired(api: Gateway, stack: Stack) -> None:
    user = registered(api)
    old = chosen(api, user)
    chosen(api, user, enabled=False)
    stack.cluster.psql(
        "INSERT INTO pmp.confirmation (id, subject_key, versions, source_key, asked_at, expires_at, confirmed_at)"
        " SELECT e.id, e.subject_key, e.versions, e.source_key, now(), now() + interval '1 day', now()"
        f" FROM pmp.event AS e WHERE e.id = '{old['id']}'"
    )
    let_leave(stack)
    assert api.get(f"/v1/events/{old['id']}").status == 200
    stack.cluster.psql(f"DELETE FROM pmp.confirmation WHERE id = '{old['id']}'")


RECORDS = """
INSERT INTO pmp.import_job (
  id, state, format, compression, client, bucket, object_key, object_version, created_at, finished_at, removed_at
)
SELECT gen_random_uuid(), 'succeeded', 'csv', 'none', 'old', 'b', 'old', n::text, at, at, CASE WHEN n > 1 THEN at END
FROM generate_series(1, 3) AS n CROSS JOIN (SELECT now() - interval '100 days' AS at) AS old;
INSERT INTO pmp.export_job (
  id, state, client, as_of, known_at, bucket, object_key, created_at, finished_at, removed_at, schedule, due_at
)
SELECT gen_random_uuid(), 'succeeded', 'old', at, at, 'b', 'old', at, at, at, CASE WHEN n > 1 THEN 'daily' END,
  CASE WHEN n > 1 THEN at + n * interval '1 hour' END
FROM generate_series(1, 3) AS n CROSS JOIN (SELECT now() - interval '100 days' AS at) AS old;
INSERT INTO pmp.notice (transaction_number, type, subject_id, document, created_at)
SELECT n, 'user.erased', gen_random_uuid(), '{}', now() - interval '100 days' FROM generate_series(1, 3) AS n;
"""


def test_housekeeping_brings_the_policy_and_records_what_left(
    api: Gateway, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp import configuration, database

    stack.cluster.psql(RECORDS)
    user = registered(api)
    chosen(api, user)
    chosen(api, user, enabled=False)
    stack.cluster.psql(
        "SET session_replication_role = replica; UPDATE pmp.event SET received_at = received_at - interval '50 days',"
        " occurred_at = occurred_at - interval '50 days';"
        " UPDATE pmp.current_choice SET counts_at = counts_at - interval '50 days'"
    )
    monkeypatch.setenv("PMP_RETENTION", '{"event_days": 40, "consents": {}, "record_days": 90}')
    configuration.configuration.cache_clear()
    housekeeping.run(database.connect(), Context())
    runs = stack.cluster.psql(
        "SELECT kind, days, removed, called_by, portions FROM pmp.retention_run WHERE days IN (40, 90) ORDER BY kind"
    )
    found = {line.split("|")[0]: line.split("|")[1:] for line in runs.splitlines()}
    assert found.keys() == {"events", "imports", "exports", "notices"}, runs
    # The upload of one went first, in the same run; the schedule goes on after its last export.
    assert (found["imports"][:3], found["exports"][:3]) == (["90", "3", "pmp_app"], ["90", "2", "pmp_app"])
    assert found["notices"][1] == "3"
    assert (found["events"][0], int(found["events"][1]) >= 1) == ("40", True)
    assert_projection_equals_replay(stack)
    monkeypatch.delenv("PMP_RETENTION")
    configuration.configuration.cache_clear()


# What is kept of an import's counts, and what names it.
SOURCES = """
SELECT count(*) FROM pmp.source AS s LEFT JOIN pmp.import_job AS j ON j.id = s.import_id
WHERE s.client IS NULL AND s.remaining + coalesce(j.accepted + j.new_users, 0) <>
  (SELECT count(*) FROM pmp.event AS e WHERE e.source_key = s.source_key)
  + (SELECT count(*) FROM pmp.suppression AS p WHERE p.source_key = s.source_key)
  + (SELECT count(*) FROM pmp.subject AS u WHERE u.created_by = s.source_key)
"""


def test_source_of_an_import_is_free_when_nothing_of_it_is_left(api: Gateway, stack: Stack, store: ObjectStore) -> None:
    addresses = [f"{uuid.uuid4().hex}@example.com" for _ in range(2)]
    for address in addresses:
        api.post("/v1/users", {"email": address})
    lines = [event(address, enabled=False) for address in addresses]

    def source(job: dict[str, Any]) -> str:
        return stack.cluster.psql(f"SELECT source_key, remaining FROM pmp.source WHERE import_id = '{job['id']}'")

    def replace_all() -> None:
        """Of each user, a choice counts that the API received."""
        for address in addresses:
            choice = {"id": EMAIL, "enabled": False}
            assert api.post("/v1/events", {"user": {"email": address}, "consents": [choice]}).status == 201

    def remove_jobs() -> None:
        stack.cluster.psql(
            "UPDATE pmp.import_job SET created_at = old.at, finished_at = old.at, removed_at = now(),"
            " rejects_removed_at = now() FROM (SELECT now() - interval '40 days' AS at) AS old;"
            "SELECT pmp.remove_expired_records('imports', 30, gen_random_uuid(), 1000)"
        )
        assert stack.cluster.psql("SELECT count(*) FROM pmp.import_job") == "0"

    let_leave(stack)
    remove_jobs()
    # Of the first, the job is removed before the events; of the second, after them; the third has a user; nothing of
    # the fourth was accepted.
    first = announced(stack, store, ndjson(lines))
    remove_jobs()
    key = source(first).partition("|")[0]
    assert source(first) == f"{key}|2"
    replace_all()
    assert let_leave(stack) == 2
    assert source(first) == ""
    assert stack.cluster.psql("SELECT pmp.source_name(" + key + ")") == ""

    second = announced(stack, store, ndjson([{**line, "occurred_at": "2026-02-02T00:00:00.5Z"} for line in lines]))
    assert source(second) == f"{key}|0", "the free row is taken"
    named = f"SELECT DISTINCT pmp.source_name(e.source_key) FROM pmp.event AS e WHERE e.source_key = {key}"
    assert stack.cluster.psql(named) == f"import:{second['id']}"
    replace_all()
    let_leave(stack)
    assert source(second) == f"{key}|-2"
    third = announced(stack, store, ndjson([event(f"{uuid.uuid4().hex}@example.com")]))
    assert source(third) != ""
    fourth = announced(stack, store, ndjson([event("nobody")]))
    assert stack.cluster.psql(SOURCES) == "0"
    remove_jobs()
    assert (source(second), source(fourth)) == ("", "")
    assert source(third).endswith("|2"), "its event and the user that it made"
    assert stack.cluster.psql(SOURCES) == "0"
    assert_projection_equals_replay(stack)


def test_operator_sets_lists_and_lifts_holds(
    api: Gateway, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Database:
        """The migration job's connection."""

        def __init__(self, environment: str) -> None:
            assert environment == "dev"

        def run_script(self, script: str) -> list[str]:
            return stack.cluster.psql(script, role="pmp_migrator").splitlines()

    monkeypatch.setattr(holds, "Migration", Database)
    monkeypatch.setattr(holds, "_operator", lambda: "arn:aws:iam::1:user/o'hara")
    user = registered(api)
    old = chosen(api, user)
    chosen(api, user, enabled=False)
    capsys.readouterr()
    holds.place("dev", "case 7: it's open", user, EMAIL, everything=False)
    hold = capsys.readouterr().out.split()[1]
    let_leave(stack)
    assert api.get(f"/v1/events/{old['id']}").status == 200
    capsys.readouterr()
    holds.show("dev")
    shown = capsys.readouterr().out.splitlines()[0]
    for text in (hold, user, EMAIL, "case 7: it's open", "user/o'hara"):
        assert text in shown
    assert "lifted" not in shown
    holds.lift("dev", hold)
    let_leave(stack)
    assert api.get(f"/v1/events/{old['id']}").status == 410
    refusals: dict[str, Callable[[], None]] = {
        "was lifted before": lambda: holds.lift("dev", hold),
        "does not exist": lambda: holds.lift("dev", str(uuid.uuid4())),
        "is not the id of a hold": lambda: holds.lift("dev", "x"),
        "no user of dev": lambda: holds.place("dev", "r", str(uuid.uuid4()), None, everything=False),
        "is not the id of a user": lambda: holds.place("dev", "r", "x", None, everything=False),
        "has no consent nothing": lambda: holds.place("dev", "r", None, "nothing", everything=False),
        "--everything alone": lambda: holds.place("dev", "r", None, None, everything=False),
        "1 to 500": lambda: holds.place("dev", "", None, None, everything=True),
    }
    for refused, act in refusals.items():
        with pytest.raises(UserError, match=refused):
            act()
