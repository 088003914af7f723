"""The double of the third party: its list has the real shape, and its server the real headers and every failure."""

import gzip
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from pmp.vendors import UpstreamError, _check, _max_age, _odd, _read

from local.vendor_list.generator import generate
from local.vendor_list.server import MODES, PATH, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server: Server, body: Any = None, path: str = PATH, **headers: str) -> tuple[int, dict[str, str], bytes]:
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", data, named)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_generated_list_has_the_shape_and_size_of_the_real_one() -> None:
    document = generate()
    assert document == generate()
    assert document != generate(seed=2)
    assert len(document["vendors"]) == 700
    assert 400_000 < len(json.dumps(document)) < 700_000
    identifiers = sorted(int(identifier) for identifier in document["vendors"])
    assert identifiers[-1] > 1200
    assert {
        len(document[name]) for name in ("purposes", "specialPurposes", "features", "specialFeatures", "stacks")
    } == {11, 2, 3, 43}
    for vendor in document["vendors"].values():
        assert not set(vendor["purposes"]) & set(vendor["legIntPurposes"])
        assert set(vendor["flexiblePurposes"]) <= set(vendor["purposes"]) | set(vendor["legIntPurposes"])
    _check(document, None)


def test_server_sends_the_headers_of_the_real_one(server: Server) -> None:
    status, headers, body = ask(server, Accept_Encoding="gzip")
    assert (status, headers["Cache-Control"], headers["Content-Encoding"]) == (200, "max-age=604800", "gzip")
    assert json.loads(gzip.decompress(body))["vendorListVersion"] == 100
    assert ask(server, If_None_Match=headers["ETag"])[0] == 304
    assert "Content-Encoding" not in ask(server)[1]
    assert ask(server, path="/v3/other.json")[0] == 403


def test_server_fails_in_the_chosen_mode(server: Server) -> None:
    assert ask(server, {"mode": "down"}, "/control")[0] == 200
    assert ask(server)[0] == 503
    ask(server, {"mode": "forbidden"}, "/control")
    assert ask(server)[0] == 403
    ask(server, {"mode": "malformed"}, "/control")
    with pytest.raises(json.JSONDecodeError):
        json.loads(ask(server)[2])
    ask(server, {"mode": "regressing"}, "/control")
    assert json.loads(ask(server)[2])["vendorListVersion"] == 90
    ask(server, {"mode": "slow", "delay_seconds": 0.2}, "/control")
    assert ask(server)[0] == 200
    ask(server, {"mode": "trickling", "delay_seconds": 0.01}, "/control")
    assert json.loads(ask(server)[2])["vendorListVersion"] == 100
    for mode, error in (("mislabelled", gzip.BadGzipFile), ("cut", EOFError)):
        ask(server, {"mode": mode}, "/control")
        with pytest.raises(error):
            gzip.decompress(ask(server, Accept_Encoding="gzip")[2])
    ask(server, {"mode": "swelling"}, "/control")
    assert len(ask(server, Accept_Encoding="gzip")[2]) < 100_000
    status, _, body = ask(server, {"mode": "sulking"}, "/control")
    assert status == 422
    assert all(mode in body.decode() for mode in MODES)
    assert ask(server, [], "/control")[0] == 422


@pytest.mark.parametrize(
    "change",
    [
        {"vendors": {}},
        {"vendors": []},
        {"vendorListVersion": "7"},
        {"vendorListVersion": True},
        {"lastUpdated": None},
        {"gvlSpecificationVersion": 2},
        {"vendors": {"1": {"id": 2, "name": "x"}}},
        {"vendors": {"1": {"id": 1}}},
        {"vendors": {"1": {"id": 1, "name": "x", "purposes": ["1"]}}},
        {"vendors": {"1": {"id": 1, "name": "x", "usesCookies": 1}}},
        {"vendors": {"1": None}},
        {"vendors": {"x": {"id": "x", "name": "x"}}},
    ],
)
def test_invalid_vendor_list_is_refused(change: dict[str, Any]) -> None:
    document = generate(vendors=3)
    _check(document, 100)
    with pytest.raises(UpstreamError):
        _check(document | change, 100)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 5000},
        {"id": True},
        {"id": 2**31},
        {"name": None},
        {"name": "\ud800"},
        {"urls": [{"langId": "\x00"}]},
        {"dataRetention": {"stdRetention": float("nan")}},
        {"purposes": ["1"]},
        {"purposes": [2**31]},
        {"usesCookies": None},
        {"deletedDate": "last year"},
        {"deletedDate": "2020-W01-1"},
        {"deletedDate": 0},
    ],
)
def test_a_few_odd_vendors_are_accepted_and_many_are_not(change: dict[str, Any]) -> None:
    document = generate(vendors=100)
    identifiers = list(document["vendors"])
    for number, identifier in enumerate(identifiers[:6], 1):
        document["vendors"][identifier] |= change
        assert _odd(document["vendors"]) == identifiers[:number]
        if number <= 5:
            _check(document, 100)
    with pytest.raises(UpstreamError, match="not the shape"):
        _check(document, 100)


def test_older_vendor_list_is_refused() -> None:
    with pytest.raises(UpstreamError, match="version 100 is older than the stored version 101"):
        _check(generate(vendors=3), 101)


@pytest.mark.parametrize("header", ["max-age=60", "public, max-age=60, must-revalidate", "Max-Age=60"])
def test_lifetime_is_read_from_the_cache_control_header(header: str) -> None:
    assert _max_age(header) == 60


@pytest.mark.parametrize("header", ["", "no-store", "max-age=-1", "max-age=x", "max-age=99999999999999"])
def test_lifetime_is_a_day_without_a_usable_header(header: str) -> None:
    assert _max_age(header) == 86400


class Reply:
    """A response with its body in one piece."""

    def __init__(self, body: bytes, coding: str | None) -> None:
        self.headers = {} if coding is None else {"Content-Encoding": coding}
        self._pieces = [body, b""]

    def read1(self, _size: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        return self._pieces.pop(0)


def _unpacked(body: bytes, coding: str | None) -> bytes:
    return _read(Reply(body, coding), time.monotonic() + 60)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " X-Gzip "])
def test_gzip_is_recognized_by_each_of_its_names(coding: str) -> None:
    assert _unpacked(gzip.compress(b"{}"), coding) == b"{}"
    assert _unpacked(b"{}", None) == b"{}"


def test_gzip_with_several_members_is_unpacked() -> None:
    members = gzip.compress(b'{"a"') + gzip.compress(b"") + gzip.compress(b": 1}")
    assert _unpacked(members, "gzip") == b'{"a": 1}'
    assert _unpacked(members + b"\0" * 100, "gzip") == b'{"a": 1}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(b"{}", mtime=0) + gzip.compress(b"{}" * 100, mtime=0)[:-9], "gzip is truncated"),
        (gzip.compress(b"{}", mtime=0) + b"rubbish", "not gzip"),
        (gzip.compress(bytes(9 * 2**20)) * 2, "more than 16777216 bytes when unpacked"),
        (gzip.compress(bytes(16 * 2**20)) + gzip.compress(b"1"), "more than 16777216 bytes when unpacked"),
    ],
)
def test_every_gzip_member_is_checked(body: bytes, reason: str) -> None:
    with pytest.raises(UpstreamError, match=reason):
        _unpacked(body, "gzip")
