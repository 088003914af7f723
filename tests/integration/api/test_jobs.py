"""The import and export API as a client sees it; ``tests/integration/imports`` tests the jobs themselves."""

import uuid
from urllib.parse import urlencode, urlsplit

import pytest
from pmp import database, tasks
from pmp.imports import jobs

from checks.gateway import Gateway
from checks.stack import Stack


def test_import_can_be_created_read_and_cancelled(api: Gateway) -> None:
    made = api.post("/v1/imports", {"format": "ndjson", "compression": "gzip", "sha256": "0" * 64})
    assert made.status == 201, made.content
    assert made.headers["Location"] == f"/v1/imports/{made.json['id']}"
    assert made.json["upload"]["method"] == "PUT"
    assert "x-amz-checksum-sha256" in made.json["upload"]["headers"]
    followed = api.get(made.headers["Location"])
    assert (followed.json["state"], followed.json["lines"]) == ("waiting", 0)
    assert api.get(f"{made.headers['Location']}/rejects").status == 404
    cancelled = api.delete(made.headers["Location"])
    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    assert api.delete(made.headers["Location"]).json == cancelled.json


def test_import_created_twice_with_one_key_is_one_import_with_a_new_url(
    api: Gateway, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, body = uuid.uuid4().hex, {"format": "csv", "compression": "gzip", "sha256": "0" * 64}
    first = api.post("/v1/imports", body, Idempotency_Key=key)
    stored = stack.cluster.psql(f"SELECT body FROM pmp.idempotency_key WHERE key = '{key}'")
    assert "Signature" not in stored
    monkeypatch.setattr(jobs, "UPLOAD_SECONDS", 1234)  # so that a new URL differs within the same second
    again = api.post("/v1/imports", body, Idempotency_Key=key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    before, after = first.json, again.json
    old, new = (document["upload"].pop("url") for document in (before, after))
    assert before == after
    assert urlsplit(old).path == urlsplit(new).path
    assert "X-Amz-Expires=1234" in new


def test_imports_are_listed_newest_first(api: Gateway) -> None:
    made = [api.post("/v1/imports", {"format": "csv", "compression": "none"}).json["id"] for _ in range(5)]
    found, path = [], "/v1/imports?limit=2"
    while path:
        answer = api.get(path)
        found += [job["id"] for job in answer.json["items"]]
        path = answer.headers.get("Link", "<>")[1:].split(">")[0]
    assert found[:5] == made[::-1]
    assert len(set(found)) == len(found)


def test_imports_are_found_by_what_is_known_of_them(api: Gateway) -> None:
    name = f"May & June {uuid.uuid4().hex}.csv"
    body = {"format": "csv", "compression": "none", "file_name": name}
    first, second, third = (api.post("/v1/imports", body).json["id"] for _ in range(3))
    api.delete(f"/v1/imports/{second}")

    def found(**query: str) -> list[str]:
        ids, path = [], f"/v1/imports?{urlencode({'limit': '2', 'file_name': name} | query)}"
        while path:
            answer = api.get(path)
            assert answer.status == 200, answer.content
            ids += [job["id"] for job in answer.json["items"]]
            path = answer.headers.get("Link", "<>")[1:].split(">")[0]
        return ids

    shown = api.get(f"/v1/imports/{second}").json
    assert found() == [third, second, first]
    assert found(state="cancelled") == [second]
    assert found(key=shown["key"]) == [second]
    assert found(client=shown["client"]) == [third, second, first]
    assert found(client="nobody") == []
    assert found(created_since=shown["created_at"]) == [third, second]
    assert found(created_before=shown["created_at"]) == [first]
    assert api.get("/v1/imports?state=lost").status == 422
    assert api.get("/v1/imports?created_since=yesterday").status == 422


def test_file_that_s3_takes_in_no_single_upload_is_refused_with_the_way_to_do_it(api: Gateway) -> None:
    answer = api.post("/v1/imports", {"format": "csv", "compression": "none", "size": (5 << 30) + 1})
    assert answer.status == 422
    assert "aws s3 cp" in answer.json["errors"][0]["detail"]
    assert api.post("/v1/imports", {"format": "csv", "compression": "none", "size": 5 << 30}).status == 201


def test_rejects_redirect_to_the_stored_file(api: Gateway, stack: Stack) -> None:
    job = api.post("/v1/imports", {"format": "csv", "compression": "none"}).json["id"]
    stack.cluster.psql(f"UPDATE pmp.import_job SET rejects_key = 'rejects/{job}.ndjson' WHERE id = '{job}'")
    answer = api.get(f"/v1/imports/{job}/rejects")
    assert answer.status == 302
    assert f"rejects/{job}.ndjson" in answer.headers["Location"]


def test_export_starts_only_after_its_job_is_committed(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[dict[str, str], int]] = []

    def invoke(task: dict[str, str]) -> None:
        database.disconnect()  # like another instance, it sees only committed data
        asked.append((task, Gateway().get(f"/v1/exports/{task['job']}").status))

    monkeypatch.setattr(tasks, "begin", invoke)
    body = {"consent": "email_notifications", "enabled": True, "as_of": "2026-01-01T00:00:00+15:59"}
    made = api.post("/v1/exports", body, Idempotency_Key=uuid.uuid4().hex)
    assert made.status == 201, made.content
    assert (made.json["state"], made.json["as_of"]) == ("waiting", "2025-12-31T08:01:00.000000Z")
    assert asked == [({"task": "export", "job": made.json["id"]}, 200)]
    assert api.get(made.headers["Location"]).json == made.json


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"consent": "email_notifications"}, "/enabled"),
        ({"enabled": True}, "/consent"),
        ({"consent": "no_such", "enabled": True}, "/consent"),
        ({"as_of": "now"}, "/as_of"),
        ({"format": "xml"}, "/format"),
        ({"contents": "rows"}, "/contents"),
        ({"partitioned": "yes"}, "/partitioned"),
        ({"contents": "choices", "consent": "email_notifications", "enabled": True}, "/consent"),
        ({"contents": "users", "since": "WzAsMF0"}, "/since"),
        ({"contents": "events", "since": "x"}, "/since"),
        ({"contents": "events", "since": "WzBd"}, "/since"),
    ],
)
def test_invalid_export_request_returns_422(api: Gateway, body: dict[str, object], pointer: str) -> None:
    answer = api.post("/v1/exports", body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)


def test_export_continues_the_feed_from_a_cursor_of_it(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "begin", lambda _task: None)
    resume = api.get("/v1/events").json["resume"]
    made = api.post("/v1/exports", {"contents": "events", "since": resume})
    assert (made.status, made.json["contents"], made.json["resume"]) == (201, "events", None)


def test_exports_are_listed_and_deleted_by_admins_only(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "begin", lambda _task: None)
    made = [api.post("/v1/exports", {}).json["id"] for _ in range(3)]
    first = api.get("/v1/exports?limit=2")
    second = api.get(first.headers["Link"].partition(">")[0].removeprefix("<"))
    assert [one["id"] for one in [*first.json["items"], *second.json["items"]]][:3] == made[::-1]
    assert api.get("/v1/exports?cursor=x").status == 422
    path = f"/v1/exports/{made[0]}"
    assert api.request("DELETE", path, If_Match='"other"').status == 412
    gone = api.request("DELETE", path)
    assert (gone.status, gone.json["state"], gone.json["kept_until"]) == (200, "cancelled", None)
    assert api.request("DELETE", path).json == gone.json
    assert api.request("DELETE", f"/v1/exports/{uuid.uuid4()}").status == 404
    reader = Gateway(scope="pmp/read pmp/write")
    assert (reader.get("/v1/exports").status, reader.request("DELETE", path).status) == (403, 403)


@pytest.mark.parametrize("path", ["/v1/imports/{}", "/v1/imports/{}/rejects", "/v1/exports/{}"])
def test_unknown_job_returns_404(api: Gateway, path: str) -> None:
    assert api.get(path.format(uuid.uuid4())).status == 404
    assert api.get(path.format("x")).status == 404
