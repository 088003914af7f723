"""Reading requests and writing responses, without a database."""

import base64
import gzip
import json
import time
from typing import Any

import pytest
from pmp.http.conditions import conditional, require_match
from pmp.http.messages import LARGEST_ANSWER_BYTES, Request, Response, encode, receive, send
from pmp.http.pages import INTEGER, cursor, page, part, position
from pmp.http.problems import Problem
from pmp.http.routes import users
from pmp.http.validation import parse_json, parse_query
from pmp.identifiers import UUID

from checks.gateway import payload


def _request(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", "/v1/users", named, "", b"", "request-id")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears more than once"),
        (b'{"b": {"a": 1, "a": 1}}', "the key 'a' appears more than once"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b'\xef\xbb\xbf{"a": 1}', "it starts with a byte order mark (BOM); send UTF-8 without one"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b"9" * 10_000, "a number has more than 1000 digits"),
        (b"{} {}", "Extra data"),
        (b"{'a': 1}", "Expecting property name"),
    ],
)
def test_invalid_json_is_refused_with_a_reason(body: bytes, detail: str) -> None:
    with pytest.raises(Problem, match="the body is not valid JSON") as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert detail in caught.value.detail
    assert not [word for word in ("sys.", "utf-8-sig", "decode") if word in caught.value.detail]


@pytest.mark.parametrize("repeated", [1, 40_000])
def test_one_mebibyte_of_repeated_keys_is_refused_within_a_second(repeated: int) -> None:
    names = list(range(95_000 - repeated))
    body = "{" + ",".join(f'"{name:06}":0' for name in [*names, *names[-repeated:]]) + "}"
    assert 0.99 * 2**20 < len(body) <= 2**20
    started = time.process_time()
    with pytest.raises(Problem, match=f"the key '{names[-repeated]:06}' appears more than once"):
        parse_json(body.encode())
    assert time.process_time() - started < 1


def test_whole_number_in_any_notation_is_an_integer() -> None:
    assert parse_json(b"[1.0, 1e2, 1.5]") == [1, 100, 1.5]
    assert [type(value) for value in parse_json(b"[1.0, 1e2, 1.5]")] == [int, int, float]
    assert parse_json(b"1e400") == float("inf")


def test_body_larger_than_one_mebibyte_returns_413() -> None:
    for encoded in (False, True):
        event = payload("POST", "/v1/users", {}, None)
        body = b"x" * (1024 * 1024)
        event["body"] = base64.b64encode(body).decode() if encoded else body.decode()
        event["isBase64Encoded"] = encoded
        assert receive(event, "id").raw_body == body
        event["body"] = base64.b64encode(body + b"x").decode() if encoded else (body + b"x").decode()
        with pytest.raises(Problem) as caught:
            receive(event, "id")
        assert caught.value.status == 413


def test_body_of_ten_million_characters_returns_413() -> None:
    event = payload("POST", "/v1/users", {}, None)
    event["body"] = "é" * 10_000_000
    with pytest.raises(Problem) as caught:
        receive(event, "id")
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("name", "sent", "read"),
    [
        ("Idempotency-Key", "k1, k1", "k1"),
        ("Idempotency-Key", "k1, k2", "k1, k2"),
        ("If-Match", '"a", "a"', '"a", "a"'),  # If-Match is itself a list
        ("Content-Type", 'application/json; x="a,a"', 'application/json; x="a,a"'),
    ],
)
def test_only_equal_copies_of_a_header_are_merged(name: str, sent: str, read: str) -> None:
    assert receive(payload("GET", "/", {name: sent}, None), "id").headers[name.lower()] == read


def test_stage_name_is_removed_from_the_path() -> None:
    event = payload("GET", "/live/v1/health", {}, None)
    event["requestContext"]["stage"] = "live"
    assert receive(event, "id").path == "/v1/health"


@pytest.mark.parametrize("raw", ["a=%ff", "a=%c3%28"])
def test_query_that_is_not_utf8_returns_400(raw: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_query(raw)
    assert caught.value.status == 400


def test_cursor_decodes_to_its_position() -> None:
    assert position(cursor(5, 6), INTEGER, INTEGER) == (5, 6)
    assert position(None, INTEGER, UUID) == (None, None)
    identifier = "01a20aa5-7b3c-7a26-b54f-452299678f07"
    assert position(cursor(identifier), UUID) == (identifier,)


@pytest.mark.parametrize(
    "text", ["x", "é", "AAAA", cursor("5"), cursor(5, 6), cursor(True), cursor(2**80), cursor(-1), cursor(1.5),
             base64.urlsafe_b64encode(b"{}").decode(), base64.urlsafe_b64encode(b"[" * 5000).decode()]
)  # fmt: skip
def test_forged_cursor_returns_422(text: str) -> None:
    with pytest.raises(Problem) as caught:
        position(text, INTEGER)
    assert caught.value.status == 422
    assert caught.value.errors == [{"parameter": "cursor", "detail": "is not a `next` value of this list"}]


def test_matching_if_none_match_returns_304() -> None:
    first = conditional(_request(), Response(200, {"a": 1}))
    tag = first.headers["ETag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = conditional(_request(if_none_match=known), Response(200, {"a": 1}))
        assert (again.status, again.body(), again.headers["ETag"]) == (304, None, tag)
    assert conditional(_request(if_none_match=tag), Response(200, {"a": 2})).status == 200


def test_read_with_a_different_if_match_returns_412() -> None:
    tag = conditional(_request(), Response(200, {"a": 1})).headers["ETag"]
    for match in (tag, "*", f'"other", {tag}'):
        assert conditional(_request(if_match=match), Response(200, {"a": 1})).status == 200
    assert conditional(_request(if_match=tag, if_none_match=tag), Response(200, {"a": 1})).status == 304
    for match in ('"other"', f"W/{tag}"):
        with pytest.raises(Problem) as caught:
            conditional(_request(if_match=match, if_none_match=tag), Response(200, {"a": 1}))
        assert caught.value.status == 412


@pytest.mark.parametrize(
    ("headers", "tag", "refused"),
    [
        ({}, '"a"', False),
        ({"if_match": '"a"'}, '"a"', False),
        ({"if_match": '"b", "a"'}, '"a"', False),
        ({"if_match": "*"}, '"a"', False),
        ({"if_match": "*"}, None, True),
        ({"if_match": '"b"'}, '"a"', True),
        ({"if_match": 'W/"a"'}, '"a"', True),  # If-Match compares strongly
        ({"if_none_match": "*"}, None, False),
        ({"if_none_match": "*"}, '"a"', True),
    ],
)
def test_write_with_a_failed_precondition_returns_412(headers: dict[str, str], tag: str | None, refused: bool) -> None:
    if refused:
        with pytest.raises(Problem) as caught:
            require_match(_request(**headers), tag)
        assert caught.value.status == 412
    else:
        require_match(_request(**headers), tag)


def test_large_response_is_compressed_for_a_client_that_accepts_gzip() -> None:
    document = {"a": "b" * 20_000}
    packed = send(Response(200, document, compress=True), _request(accept_encoding="br, gzip"))
    assert packed["headers"]["Content-Encoding"] == "gzip"
    assert packed["headers"]["Vary"] == "Accept-Encoding"
    assert json.loads(gzip.decompress(base64.b64decode(packed["body"]))) == document
    plain = send(Response(200, document, compress=True), _request())
    assert json.loads(plain["body"]) == document
    assert "Content-Encoding" not in plain["headers"]


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("br, gzip;q=0.5", True),
        ("gzip ; q=0.001", True),
        ("identity;q=0.5, gzip", True),
        ("", False),
        ("br", False),
        ("supergzip", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;Q=0", False),
        ("gzip;q=x", False),
        ("identity, gzip;q=0.5", False),
    ],
)
def test_gzip_is_sent_only_if_accept_encoding_prefers_it(header: str, accepts: bool) -> None:
    sent = send(Response(200, {"a": "b" * 20_000}, compress=True), _request(accept_encoding=header))
    assert ("Content-Encoding" in sent["headers"]) == accepts
    assert sent["headers"]["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("text", ['"' * 1000, "é" * 1000, "a" * 1000, "\\n" * 1000])
def test_page_is_cut_where_lambda_could_not_return_it(text: str) -> None:
    """The limit is for the whole response as JSON, in which the quotes of the body are escaped."""
    rows = [{"id": number, "text": text * 10} for number in range(501)]
    seen: list[int] = []
    after = 0
    while True:
        response = page(_request(), rows[after:], lambda row: (row["id"],))
        sent = send(response, _request())
        assert len(json.dumps(sent)) <= LARGEST_ANSWER_BYTES
        document = json.loads(sent["body"])
        seen += [row["id"] for row in document["items"]]
        assert ("Link" in response.headers) == (document["next"] is not None)
        if document["next"] is None:
            break
        (after,) = position(document["next"], INTEGER)
        after += 1
    assert seen == [row["id"] for row in rows]


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("resumes", [True, False])
def test_page_that_the_database_cut_is_cut_again_where_it_does_not_fit(*, more: bool, resumes: bool) -> None:
    items = [{"id": number, "place": [number], "text": '"' * 100_000} for number in range(60)]
    seen: list[int] = []
    after = 0
    while after < len(items):
        rows = {"items": items[after:], "last": [len(items) + 5], "more": more}
        response = part(_request(), rows, resumes=resumes)
        sent = send(response, _request())
        assert len(json.dumps(sent)) <= LARGEST_ANSWER_BYTES
        document = json.loads(sent["body"])
        seen += [item["id"] for item in document["items"]]
        is_last = len(seen) == len(items)
        if document["next"] is None:
            assert is_last
            assert not more
            break
        (place,) = position(document["next"], INTEGER)
        assert place == (len(items) + 5 if is_last else seen[-1])
        assert document["resume"] == (document["next"] if resumes else None)
        after = place + 1
    assert seen == [item["id"] for item in items]


def test_lookup_is_cut_where_lambda_could_not_return_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": number, "place": [1, 2, number], "text": '"' * 100_000} for number in range(51)]

    class Connection:
        def run(self, *_: object, **__: object) -> Any:
            return [[{"user": None, "erased": [], "items": rows}]]

    monkeypatch.setattr(users, "with_key", lambda _work: b"")
    request = _request()
    request.body = {"email": "ada@example.com"}
    sent = send(users.lookup_user(request, Connection()), request)
    assert len(json.dumps(sent)) <= LARGEST_ANSWER_BYTES
    document = json.loads(sent["body"])
    assert 0 < len(document["items"]) < 50
    assert position(document["next"], INTEGER, INTEGER, INTEGER) == (1, 2, document["items"][-1]["id"])


def test_whole_page_is_sent_if_it_fits() -> None:
    rows = [{"id": number, "text": "a" * 10_000} for number in range(501)]
    request = _request()
    request.query["limit"] = 500
    assert len(page(request, rows, lambda row: (row["id"],)).document["items"]) == 500


def test_answer_that_lambda_could_not_return_is_an_error() -> None:
    with pytest.raises(OverflowError, match="6300000 bytes"):
        send(Response(200, content=b"a" * 6_300_000), _request())


def test_unpaired_surrogate_is_encoded_as_a_question_mark() -> None:
    assert encode({"detail": "\ud800"}) == b'{"detail":"?"}'


def test_response_forbids_caching_and_sniffing() -> None:
    sent: dict[str, Any] = send(Response(204), None)
    assert sent["headers"] == {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Strict-Transport-Security": "max-age=31536000",
        "Referrer-Policy": "no-referrer",
    }
    assert "body" not in sent
