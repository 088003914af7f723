"""From a record of another system to an event, by a mapping: it says where the values are, and what they mean.

A source is the name of a column, in any case, or a JSON Pointer (RFC 6901) into an object. The mapping's shape is the
schema ``MappingBody`` of ``openapi.json``; ``faults`` finds what a schema cannot say.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Container, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from pmp.imports.columns import Table, quoted
from pmp.imports.errors import LineError
from pmp.imports.rejects import COLUMN as REASON

Document = Mapping[str, Any]
Getter = Callable[[Any], object]

HASHED = "email_sha256"
"""Kind of identifier: the SHA-256 of an address in lower case. It can only deny (ADR 0214)."""

_DIRECTIVES = re.compile(r"%(?![YmdHMSfzbBpIjy%])").search
"""What a date format may not contain: directives that depend on a locale's week, or that name no part of an instant."""

_MOST_DIGITS = 17
_LONGEST_DATE = 64
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)").fullmatch
_ZONE_AT_END = re.compile(r"\s*(?:UTC|GMT)$")


def faults(document: Document, catalogue: Container[str]) -> list[dict[str, str]]:
    """What is wrong with a mapping that fits the schema: ``[{"pointer", "detail"}]``."""
    found = []
    dates = document.get("occurred_at", {})
    pattern = dates.get("format", "iso")
    if "%" in pattern:
        if _DIRECTIVES(pattern):
            detail = "may use %Y %y %m %d %b %B %j %H %I %p %M %S %f %z"
            found.append({"pointer": "/occurred_at/format", "detail": detail})
        elif not all(part in pattern for part in ("%d", "%m")) and "%b" not in pattern.lower() and "%j" not in pattern:
            found.append({"pointer": "/occurred_at/format", "detail": "must name the day and the month"})
    elif pattern not in {"iso", "unix_seconds", "unix_milliseconds"}:
        detail = "must be iso, unix_seconds, unix_milliseconds, or a pattern such as %d/%m/%Y %H:%M"
        found.append({"pointer": "/occurred_at/format", "detail": detail})
    try:
        _zone(dates.get("zone", "UTC"))
    except (KeyError, ValueError, OSError):
        detail = "is not known; use a name such as Europe/Paris, or an offset such as +01:00"
        found.append({"pointer": "/occurred_at/zone", "detail": detail})
    if len(document["user"]) != 1:
        found.append({"pointer": "/user", "detail": "must have either id, email or email_sha256"})
    if HASHED in document["user"]:
        found.extend(_faults_of_hashes(document))
    for place, rule in enumerate(document["consents"]):
        if ("from" in rule) == ("enabled" in rule):
            found.append({"pointer": f"/consents/{place}", "detail": "must have either from or enabled"})
        if "each" in rule and not all(rule.get(name, "/").startswith("/") for name in ("each", "consent", "from")):
            detail = "with each, consent and from are JSON Pointers, which begin with /"
            found.append({"pointer": f"/consents/{place}", "detail": detail})
        if "each" not in rule and rule["consent"] not in catalogue:
            found.append({"pointer": f"/consents/{place}/consent", "detail": "is not in the catalogue"})
        found.extend(
            {"pointer": f"/consents/{place}/names", "detail": f"{name} is not in the catalogue"}
            for name in (entry["consent"] for entry in rule.get("names", []))
            if name is not None and name not in catalogue
        )
    return found


def _faults_of_hashes(document: Document) -> list[dict[str, str]]:
    found = [
        {"pointer": f"/consents/{place}/enabled", "detail": "must be false: a hash can only opt out"}
        for place, rule in enumerate(document["consents"])
        if rule.get("enabled") is not False
    ]
    if "event_id" in document:
        found.append({"pointer": "/event_id", "detail": "does not go together with email_sha256; leave it out"})
    return found


class Mapped:
    """A mapping, ready for use.

    Args:
        document: the mapping.
        table: the columns of a CSV file; None for JSON.
        is_dated: the import has an instant for the records without one.

    Raises:
        FileError: the file lacks a column that the mapping needs, or has one that it neither uses nor ignores.
    """

    def __init__(self, document: Document, table: Table | None, *, is_dated: bool = False) -> None:
        self._document, self._table, self._is_dated = document, table, is_dated
        self._used = set[str]()
        ((self._identifier, source),) = document["user"].items()
        self._user, self._id = self._source(source), self._source(document.get("event_id"))
        dates = document.get("occurred_at", {})
        self._dates = [self._source(name) for name in dates.get("from", [])]
        self._constant_date: str | None = dates.get("at")
        self._read_date = _date_reader(dates.get("format", "iso"), _zone(dates.get("zone", "UTC")))
        self._rules = [_Rule(rule, self._source) for rule in document["consents"]]
        if table is not None:
            self._check_columns(table)

    def event(self, text: str) -> dict[str, Any]:
        """The event that a record stands for, as a line of PMP's own form.

        Raises:
            LineError: the record cannot be read, or has a value of which the mapping does not say what it means.
        """
        record: Any
        if self._table is not None:
            record = self._table.row(text)
        else:
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise LineError("invalid_json", "", f"is not valid JSON: {str(error)[:200]}") from None
            if type(record) is not dict:
                raise LineError("invalid_type", "", "must be an object")
        choices: dict[str, bool] = {}
        for rule in self._rules:
            for consent, answer in rule.answers(record):
                choices.setdefault(consent, answer)
        if not choices:
            raise LineError("no_choice", "", "holds no choice according to the mapping")
        event: dict[str, Any] = {
            "user": {self._identifier: _text(self._user(record))},
            "consents": [{"id": consent, "enabled": answer} for consent, answer in choices.items()],
        }
        if identifier := _text(self._id(record)):
            event["id"] = identifier
        told = next((value for value in (_text(date(record)) for date in self._dates) if value), None)
        if told:
            event["occurred_at"] = self._read_date(told)
        elif self._constant_date:
            event["occurred_at"] = self._constant_date
        return event

    def _source(self, name: str | None) -> Getter:
        if name is None:
            return lambda _: None
        if name.startswith("/"):
            return _pointer(name)
        if self._table is None:
            return lambda record: record.get(name)
        column = name.strip().lower()
        self._used.add(column)
        return lambda row: row.get(column)

    def _check_columns(self, table: Table) -> None:
        document, present = self._document, set(table.names)

        def needed(names: list[str], what: str) -> None:
            if names and not any(name.strip().lower() in present for name in names):
                raise table.fault(f"the mapping needs a column {' or '.join(names)} for {what}")

        needed(list(document["user"].values()), "the user")
        if not self._is_dated:
            needed(document.get("occurred_at", {}).get("from", []), "occurred_at; or give the import an occurred_at")
        for rule in document["consents"]:
            if "each" in rule:
                raise table.fault("the mapping is for JSON, because it takes a choice from each item of an array")
        named: dict[str, list[str]] = {}
        for rule in document["consents"]:
            if "from" in rule:
                named.setdefault(rule["consent"], []).append(rule["from"])
        constant = {rule["consent"] for rule in document["consents"] if "enabled" in rule}
        for consent, sources in named.items():
            if consent not in constant:
                needed(sources, f"the consent {consent}")
        ignored = {name.strip().lower() for name in document.get("ignored", [])}
        for name in table.names if "*" not in ignored else []:
            if name not in self._used | ignored | {REASON}:
                raise table.fault(
                    f"column {table.names.index(name) + 1}{quoted(name)} is neither used nor ignored by the mapping"
                )


class _Rule:
    """Of which choices one rule tells the answer."""

    def __init__(self, rule: Document, source: Callable[[str | None], Getter]) -> None:
        self._consent: str = rule["consent"]
        self._constant: bool | None = rule.get("enabled")
        self._present: bool | None = rule.get("present")
        self._place = "/" + rule.get("from", "").removeprefix("/")
        self._names: dict[str, str | None] = {entry["id"]: entry["consent"] for entry in rule.get("names", [])}
        self._each = _pointer(rule["each"]) if "each" in rule else None
        values = rule.get("values", [])
        self._values: dict[str, bool | None] = {_word(entry["value"]): entry["enabled"] for entry in values}
        self._accepted = ", ".join(entry["value"] for entry in values) or "true, false"
        self._from = _pointer(rule["from"]) if self._each and "from" in rule else source(rule.get("from"))
        self._name = _pointer(rule["consent"]) if self._each else None

    def answers(self, record: Any) -> list[tuple[str, bool]]:
        """Consents and answers that the record holds.

        Raises:
            LineError: a value of which the rule does not say what it means.
        """
        if self._each is None or self._name is None:
            answer = self._answer(record)
            return [] if answer is None else [(self._consent, answer)]
        items = self._each(record)
        if items is None:
            return []
        if type(items) is not list:
            raise LineError("invalid_type", self._place, "must be an array")
        found = []
        for item in items:
            name = _text(self._name(item))
            if not name:
                raise LineError("missing", self._place, "an item names no consent")
            consent = self._names.get(name, name)
            if consent is not None and (answer := self._answer(item)) is not None:
                found.append((consent, answer))
        return found

    def _answer(self, record: Any) -> bool | None:
        if self._constant is not None:
            return self._constant
        value = self._from(record)
        word = _word(value)
        if self._present is not None:
            return self._present if word else None
        if not self._values and type(value) is bool:
            return value
        if word in self._values:
            return self._values[word]
        if not word:
            return None
        if not self._values and word in {"true", "false"}:
            return word == "true"
        raise LineError("unknown_value", self._place, f"is none of the values that the mapping knows: {self._accepted}")


def _word(value: object) -> str:
    """A value as mappings compare it: in lower case, without blanks around it."""
    return _text(value).lower()


def _text(value: object) -> str:
    if value is None:
        return ""
    if type(value) is bool:
        return "true" if value else "false"
    return value.strip() if type(value) is str else json.dumps(value)


def _pointer(pointer: str) -> Getter:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]

    def get(record: Any) -> object:
        for part in parts:
            if type(record) is dict:
                record = record.get(part)
            elif type(record) is list and part.isdecimal() and int(part[:9]) < len(record):
                record = record[int(part[:9])]
            else:
                return None
        return record

    return get


def _zone(name: str) -> dt.tzinfo:
    offset = _OFFSET(name)
    if offset:
        sign = -1 if offset[1] == "-" else 1
        return dt.timezone(sign * dt.timedelta(hours=int(offset[2]), minutes=int(offset[3])))
    return dt.UTC if name == "UTC" else ZoneInfo(name)


def _date_reader(pattern: str, zone: dt.tzinfo) -> Callable[[str], str]:
    """Reads a date and time, and writes it as RFC 3339 in UTC. One without a zone is in ``zone``."""

    def read(text: str) -> str:
        try:
            moment = _moment(text, pattern)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=zone)
            moment = moment.astimezone(dt.UTC)
        except (ValueError, OverflowError, OSError):
            found = f"a date and time in the mapping's format ({pattern})"
            raise LineError("invalid_instant", "/occurred_at", f"must be {found}") from None
        has_fraction = moment.microsecond or "%f" in pattern or pattern == "unix_milliseconds" or "." in text
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds" if has_fraction else "seconds") + "Z"

    return read


def _moment(text: str, pattern: str) -> dt.datetime:
    if len(text) > _LONGEST_DATE:
        raise ValueError("too long")
    if pattern == "iso":
        return dt.datetime.fromisoformat(_ZONE_AT_END.sub("+00:00", text))
    if pattern.startswith("unix_"):
        if not text.isdecimal() or len(text) > _MOST_DIGITS:
            raise ValueError("not a number")
        thousandths = int(text) if pattern == "unix_milliseconds" else int(text) * 1000
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=thousandths)
    return dt.datetime.strptime(text, pattern)  # noqa: DTZ007 - the caller adds the zone
