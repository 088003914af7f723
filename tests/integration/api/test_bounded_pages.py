"""A page reads a bounded number of users, however few of them match."""

import uuid

from checks.gateway import Gateway
from checks.stack import Stack

PER_PAGE = 1000
"""Users that a page reads at most."""


def add(stack: Stack, consent: str, count: int, told: str, choice: str) -> None:
    """Register ``count`` users with one choice each."""
    stack.cluster.psql(
        "SELECT count(pmp.create_event(gen_random_uuid(), (pmp.create_user(gen_random_uuid() || '@example.com', 'many')"
        f" ->> 'id')::uuid, '[{{\"id\": \"{consent}\", \"enabled\": {choice}}}]', {told}, 'many'))"
        f" FROM generate_series(1, {count})"
    )


def test_page_of_a_rare_choice_reads_no_more_when_other_choices_are_added(stack: Stack) -> None:
    api = Gateway()
    consent = f"r{uuid.uuid4().hex}"
    api.put(f"/v1/consents/{consent}", {"description": "Rare", "channel": "web", "expires_after_days": 1})
    add(stack, consent, PER_PAGE, "now() - interval '2 days'", "true")  # expired
    add(stack, consent, PER_PAGE + 200, "NULL", "false")
    statement = f"SELECT pmp.list_users_by_choice(NULL, 50, '{consent}', true)"
    before = stack.blocks(statement)
    add(stack, consent, PER_PAGE, "NULL", "false")
    add(stack, consent, 1, "NULL", "true")
    assert stack.blocks(statement) < 1.2 * before
    path, pages, found = f"/v1/users?consent={consent}&enabled=true", 0, []
    while path:
        answer = api.get(path)
        found += answer.json["items"]
        pages += 1
        path = answer.headers.get("Link", "")[1:].partition(">")[0]
    assert (pages, len(found)) == (4, 1)
    # The first thousand grants have expired, so the page is empty; the one after it is full.
    first = api.get(f"/v1/users?consent={consent}&enabled=false&limit=50").json
    assert first["items"] == []
    second = api.get(f"/v1/users?consent={consent}&enabled=false&limit=50&cursor={first['next']}").json
    assert len(second["items"]) == 50
    assert second["next"] is not None


def test_page_of_erased_users_is_empty_and_has_a_next_one(stack: Stack) -> None:
    api = Gateway()
    start = api.get("/v1/users?limit=1").json["resume"]
    while (page := api.get(f"/v1/users?limit=500&cursor={start}").json)["items"] or page["next"]:
        start = page["resume"]
    consent = f"e{uuid.uuid4().hex}"
    api.put(f"/v1/consents/{consent}", {"description": "Erased", "channel": "web"})
    add(stack, consent, PER_PAGE + 1, "NULL", "true")
    cursor, erased = start, []
    while (page := api.get(f"/v1/users?limit=500&cursor={cursor}").json)["items"]:
        erased += [user["id"] for user in page["items"]]
        cursor = page["resume"]
    assert len(erased) == PER_PAGE + 1
    assert {api.delete(f"/v1/users/{user}").status for user in erased} == {200}
    first = api.get(f"/v1/users?cursor={start}").json
    assert (first["items"], first["next"]) == ([], first["resume"])
    last = api.get(f"/v1/users?cursor={first['next']}").json
    assert (last["items"], last["next"]) == ([], None)
