"""The copy of the IAB Global Vendor List.

One caller refreshes it at a time, no more often than Cache-Control allows; a stale copy survives failures. The rules
(https://github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework, "Caching the Global Vendor
List"): keep a copy for exactly the response's max-age, accept compression, do not hammer the host. The host is known to
answer 403 with XML instead of 404, and to truncate documents. So only a complete list of at least the same version
replaces the copy, and after each failure the next attempt waits longer, up to six hours. A single vendor that is not of
the list's shape keeps its earlier entry, and does not hold back the others.
"""

import gzip
import io
import json
import random
import time
import zlib
from typing import Any

from pmp import database, instants
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

CONNECT_SECONDS = 2.0
TOTAL_SECONDS = 5.0
_LARGEST_BYTES = 16 * 1024 * 1024
_LEASE_SECONDS = 60
"""Longer than a refresh takes: two attempts and the swap of the copy."""
_FIRST_BACKOFF_SECONDS = 60
_LONGEST_BACKOFF_SECONDS = 6 * 3600
_DEFAULT_MAX_AGE_SECONDS = 24 * 3600
_NO_COPY_SECONDS = 10 * 24 * 3600
"""How overdue a list counts that was never fetched."""


class UpstreamError(Exception):
    """The host did not answer with a vendor list; the text says what it answered."""

    def __init__(self, text: str, *, again: bool = False) -> None:
        """Say what happened, and whether it may be tried again at once."""
        super().__init__(text)
        self.again = again


def refresh(connection: Connection) -> bool:
    """Fetch the list if a refresh is due and no other caller has claimed it.

    Returns:
        Whether this call asked the host, successfully or not.
    """
    url = configuration().vendor_list_url
    claimed = _claim(connection, url)
    if claimed is None:
        return False
    etag, version, failures = claimed
    try:
        document, new_etag, max_age = _fetch_twice(url, etag)
        if document is not None:
            _check(document, version)
        _keep(connection, url, document, new_etag, max_age)
    except UpstreamError as error:
        seconds = _postpone(connection, url, failures + 1, str(error))
        log("vendor list not refreshed", level="warning", reason=str(error), failures=failures + 1, again_in=seconds)
    else:
        log("vendor list refreshed", changed=document is not None, max_age=max_age)
    return True


def report(connection: Connection) -> None:
    """Log by how many seconds the copy is overdue; alarms watch that number, and that it is logged at all."""
    rows = connection.run(
        "SELECT greatest(extract(epoch FROM now() - fresh_until), 0)::bigint FROM pmp.upstream_cache "
        "WHERE url = :url AND version IS NOT NULL",
        url=configuration().vendor_list_url,
    )
    log("vendor list checked", overdue_seconds=rows[0][0] if rows else _NO_COPY_SECONDS)


def _claim(connection: Connection, url: str) -> tuple[str | None, int | None, int] | None:
    """Claim the next refresh. Returns (etag, version, failures), or None if another caller holds the claim."""
    with connection.transaction():
        connection.run("INSERT INTO pmp.upstream_cache (url) VALUES (:url) ON CONFLICT DO NOTHING", url=url)
        rows = connection.run(
            "UPDATE pmp.upstream_cache SET next_attempt_at = now() + :lease * interval '1 second' "
            "WHERE url = :url AND next_attempt_at <= now() RETURNING etag, version, failures",
            url=url,
            lease=_LEASE_SECONDS,
        )
    return tuple(rows[0]) if rows else None


def _fetch_twice(url: str, etag: str | None) -> tuple[dict[str, Any] | None, str | None, int]:
    try:
        return _fetch(url, etag)
    except UpstreamError as error:
        if not error.again:
            raise
        return _fetch(url, etag)


def _fetch(url: str, etag: str | None) -> tuple[dict[str, Any] | None, str | None, int]:
    """The document (None if the copy is current), its ETag, its lifetime in seconds."""
    import urllib3

    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "pmp"}
    if etag is not None:
        headers["If-None-Match"] = etag
    deadline = time.monotonic() + TOTAL_SECONDS
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=TOTAL_SECONDS),
        retries=False,
        ssl_context=database.tls(),
    )
    try:
        response = pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
        body = _read(response, deadline)
    except urllib3.exceptions.HTTPError as error:
        raise UpstreamError(f"{type(error).__name__}: {error}", again=True) from error
    finally:
        pool.clear()
    max_age = _max_age(response.headers.get("Cache-Control", ""))
    if response.status == 304 and etag is not None:
        return None, etag, max_age
    if response.status != 200:
        raise UpstreamError(f"status {response.status}: {body[:200]!r}", again=response.status >= 500)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamError(f"not JSON: {error}") from error
    return document, response.headers.get("ETag"), max_age


def _read(response: Any, deadline: float) -> bytes:
    """The whole body, decoded, within one time limit; the library's applies to each piece from the network."""
    body = bytearray()
    while piece := response.read1(64 * 1024, decode_content=False):
        body += piece
        if len(body) > _LARGEST_BYTES:
            raise UpstreamError(f"more than {_LARGEST_BYTES} bytes")
        if time.monotonic() > deadline:
            raise UpstreamError(f"not read completely within {TOTAL_SECONDS} s", again=True)
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return _unpack(bytes(body)) if coding in {"gzip", "x-gzip"} else bytes(body)


def _unpack(body: bytes) -> bytes:
    """Decompress gzip, which may have several members (RFC 1952, section 2.2), and zeros at its end."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            unpacked = file.read(_LARGEST_BYTES + 1)
    except EOFError as error:
        raise UpstreamError("gzip is truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UpstreamError(f"not gzip: {error}") from error
    if len(unpacked) > _LARGEST_BYTES:
        raise UpstreamError(f"more than {_LARGEST_BYTES} bytes when unpacked")
    return unpacked


def _max_age(header: str) -> int:
    for directive in header.split(","):
        name, _, value = directive.strip().partition("=")
        if name.lower() == "max-age" and value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
    return _DEFAULT_MAX_AGE_SECONDS


_LISTS = {
    "purposes": "purposes",
    "legitimate_interest_purposes": "legIntPurposes",
    "flexible_purposes": "flexiblePurposes",
    "special_purposes": "specialPurposes",
    "features": "features",
    "special_features": "specialFeatures",
    "data_declaration": "dataDeclaration",
}


_MOST_ODD = 0.05
"""Share of vendors that may be odd. Above it, the document rather than a vendor is wrong."""
_MOST_NAMED = 20
_LARGEST_INTEGER = 2**31 - 1
_FLAGS = ("usesCookies", "cookieRefresh", "usesNonCookieAccess")


def _check(document: Any, known_version: int | None) -> None:
    """Refuse a document that is not a complete vendor list, or that is older than the copy."""
    try:
        version, vendors = document["vendorListVersion"], document["vendors"]
        if document["gvlSpecificationVersion"] != 3:
            raise UpstreamError(f"gvlSpecificationVersion {document['gvlSpecificationVersion']!r}, not 3")
        whole = type(version) is int and isinstance(document["lastUpdated"], str) and bool(vendors)
        whole = whole and len(_odd(vendors)) <= _MOST_ODD * len(vendors)
    except (TypeError, KeyError, AttributeError) as error:
        raise UpstreamError(f"not the shape of a vendor list: {type(error).__name__} {error}") from error
    if not whole:
        raise UpstreamError("not the shape of a vendor list")
    if known_version is not None and version < known_version:
        raise UpstreamError(f"version {version} is older than the stored version {known_version}")


def _odd(vendors: dict[str, Any]) -> list[str]:
    """The keys of the vendors that the API cannot show."""
    return [identifier for identifier, vendor in vendors.items() if not _is_well_formed(identifier, vendor)]


def _is_well_formed(identifier: str, vendor: Any) -> bool:
    try:
        # JSON that PostgreSQL takes: no NUL, no lone surrogate, no NaN.
        text = json.dumps(_vendor(vendor), ensure_ascii=False, allow_nan=False)
        text.encode()
        instants.utc_text(vendor.get("deletedDate"))
    except (TypeError, KeyError, AttributeError, ValueError):
        return False
    return (
        "\\u0000" not in text
        and type(vendor["id"]) is int
        and 0 < vendor["id"] <= _LARGEST_INTEGER
        and str(vendor["id"]) == identifier
        and all(_are_integers(vendor.get(name, [])) for name in _LISTS.values())
        and all(isinstance(vendor.get(name, False), bool) for name in _FLAGS)
    )


def _are_integers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value <= _LARGEST_INTEGER for value in values)


def _vendor(vendor: dict[str, Any]) -> dict[str, Any]:
    """A vendor as the API shows it."""
    shown: dict[str, Any] = {"id": vendor["id"], "name": vendor["name"].replace("\x00", "")}
    shown |= {name: vendor.get(theirs, []) for name, theirs in _LISTS.items()}
    return shown | {
        "cookie_max_age_seconds": vendor.get("cookieMaxAgeSeconds"),
        "uses_cookies": vendor.get("usesCookies", False),
        "cookie_refresh": vendor.get("cookieRefresh", False),
        "uses_non_cookie_access": vendor.get("usesNonCookieAccess", False),
        "data_retention": vendor.get("dataRetention", {}),
        "urls": vendor.get("urls", []),
        "device_storage_disclosure_url": vendor.get("deviceStorageDisclosureUrl"),
        "deleted_at": vendor.get("deletedDate"),
    }


_SWAP = """
WITH told AS (
  SELECT (item ->> 'id')::integer AS id, item FROM jsonb_array_elements((:vendors)::jsonb) AS item
), gone AS (
  DELETE FROM pmp.vendor WHERE id NOT IN (SELECT id FROM told) AND id::text <> ALL (:odd)
)
INSERT INTO pmp.vendor AS v (id, name, purposes, deleted_at, document)
SELECT
  id, item ->> 'name',
  ARRAY(
    SELECT DISTINCT purpose::integer
    FROM jsonb_array_elements_text((item -> 'purposes') || (item -> 'legitimate_interest_purposes')) AS purpose
    ORDER BY 1
  ),
  (item ->> 'deleted_at')::timestamptz, item
FROM told
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, purposes = excluded.purposes, deleted_at = excluded.deleted_at, document = excluded.document
WHERE v.document <> excluded.document
"""


def _keep(connection: Connection, url: str, document: dict[str, Any] | None, etag: str | None, max_age: int) -> None:
    """Replace the copy as a whole; without a document, only record that it is current."""
    try:
        with connection.transaction():
            version, rest = None, None
            if document is not None:
                # A vendor that cannot be read keeps its earlier entry; the others must not wait for it.
                odd = _odd(document["vendors"])
                told = [_vendor(vendor) for identifier, vendor in document["vendors"].items() if identifier not in odd]
                connection.run(_SWAP, vendors=json.dumps(told), odd=odd)
                if odd:
                    log("vendors not read", level="warning", vendors=odd[:_MOST_NAMED], number=len(odd))
                version = document["vendorListVersion"]
                rest = json.dumps({name: value for name, value in document.items() if name != "vendors"})
            connection.run(
                "UPDATE pmp.upstream_cache SET version = coalesce(:version, version), "
                "document = coalesce(:rest, document), etag = :etag, failures = 0, last_error = NULL, "
                "fetched_at = now(), fresh_until = now() + :age * interval '1 second', "
                "next_attempt_at = now() + :age * interval '1 second' WHERE url = :url",
                url=url,
                version=version,
                rest=rest,
                etag=etag,
                age=max_age,
            )
    except database.DatabaseError as error:
        if database.is_lost(error):
            raise
        raise UpstreamError(f"could not be stored: {error}") from error


def _postpone(connection: Connection, url: str, failures: int, reason: str) -> int:
    """Set the next attempt. Returns the seconds until then."""
    longest = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 10))
    # Jitter, so that many clients do not return at once.
    seconds = int(longest * random.uniform(0.5, 1.0))  # noqa: S311
    with connection.transaction():
        connection.run(
            "UPDATE pmp.upstream_cache SET failures = :failures, last_error = :reason, "
            "next_attempt_at = now() + :seconds * interval '1 second' WHERE url = :url",
            url=url,
            failures=failures,
            reason=reason[:500].replace("\x00", ""),
            seconds=seconds,
        )
    return seconds


def edition(connection: Connection) -> tuple[dict[str, Any], int] | None:
    """The copy's edition as the API shows it, and its age in seconds; None if there is no copy yet."""
    rows = connection.run(
        "SELECT version, document ->> 'lastUpdated', pmp.instant(fetched_at), fresh_until < now(), "
        "extract(epoch FROM now() - fetched_at)::bigint FROM pmp.upstream_cache "
        "WHERE url = :url AND version IS NOT NULL",
        url=configuration().vendor_list_url,
    )
    if not rows:
        return None
    version, last_updated, fetched_at, stale, age = rows[0]
    document = {"version": version, "last_updated": last_updated, "fetched_at": fetched_at, "stale": stale}
    return document, age


def names(connection: Connection, version: int) -> dict[str, dict[int, str]] | None:
    """The names of a version of the list, by id; None if the copy is of another version.

    Returns:
        ``purposes``, ``special_features`` and ``vendors``.
    """
    rows = connection.run(
        "SELECT document -> 'purposes', document -> 'specialFeatures',"
        " (SELECT jsonb_object_agg(id, name) FROM pmp.vendor)"
        " FROM pmp.upstream_cache WHERE url = :url AND version = :version",
        url=configuration().vendor_list_url,
        version=version,
    )
    if not rows:
        return None
    purposes, features, listed = rows[0]
    return {
        "purposes": _named(purposes),
        "special_features": _named(features),
        "vendors": {int(identifier): name for identifier, name in (listed or {}).items()},
    }


def _named(entries: Any) -> dict[int, str]:
    """Names by id; without those that are not of the list's shape."""
    if not isinstance(entries, dict):
        return {}
    return {
        int(identifier): entry["name"]
        for identifier, entry in entries.items()
        if identifier.isdecimal() and isinstance(entry, dict) and isinstance(entry.get("name"), str)
    }


def freshness(connection: Connection) -> str:
    """``fresh``, ``stale`` or ``missing``."""
    found = edition(connection)
    if found is None:
        return "missing"
    return "stale" if found[0]["stale"] else "fresh"
