"""Mappings: the ready ones with files in the published shapes of their systems, and what a mapping refuses."""

import csv
import io
import json
from typing import Any

import pytest
from pmp.imports import mapping
from pmp.imports.columns import Table
from pmp.imports.errors import FileError, LineError
from pmp.imports.mapping import Mapped
from pmp.imports.ready import READY
from pmp.specification import SCHEMAS

CATALOGUE = {"email_notifications", "sms_notifications"}
Event = dict[str, Any]


def event(email: str, occurred_at: str | None = None, *, enabled: bool, consent: str = "email_notifications") -> Event:
    dated = {"occurred_at": occurred_at} if occurred_at else {}
    return {"user": {"email": email}, "consents": [{"id": consent, "enabled": enabled}], **dated}


def row(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def mapped(document: dict[str, Any], records: list[str], *, is_csv: bool) -> list[Event | str]:
    """Return the event of each record, or the code of its error."""
    reader = Mapped(document, Table(records[0], ",") if is_csv else None)
    found: list[Event | str] = []
    for record in records[1:] if is_csv else records:
        try:
            found.append(reader.event(record))
        except LineError as error:
            found.append(error.code)
    return found


MAILCHIMP = [
    "Email Address", "First Name", "Last Name", "MEMBER_RATING", "OPTIN_TIME", "OPTIN_IP", "CONFIRM_TIME", "CONFIRM_IP",
    "LATITUDE", "LONGITUDE", "GMTOFF", "DSTOFF", "TIMEZONE", "CC", "REGION", "LAST_CHANGED", "LEID", "EUID", "NOTES",
    "TAGS",
]  # fmt: skip
EXPORTS: dict[str, tuple[str, list[str], list[Event | str]]] = {
    "mailchimp-subscribed": (
        "mailchimp",
        [
            row(*MAILCHIMP),
            row("ada@example.com", "Ada", "L", "2", "", "", "2021-03-01 10:11:12", *[""] * 11, "", '"VIP","News"'),
        ],
        [event("ada@example.com", "2021-03-01T10:11:12Z", enabled=True)],
    ),
    "mailchimp-unsubscribed": (
        "mailchimp",
        [
            row(*MAILCHIMP[:8], "UNSUB_TIME", "UNSUB_CAMPAIGN_TITLE", "UNSUB_CAMPAIGN_ID", "UNSUB_REASON"),
            row("bob@example.com", *[""] * 5, "2021-03-01 10:11:12", "", "2023-05-01 08:00:00", "May", "1", "NORMAL"),
        ],
        [event("bob@example.com", "2023-05-01T08:00:00Z", enabled=False)],
    ),
    "mailchimp-cleaned": (
        "mailchimp",
        [
            row(*MAILCHIMP[:8], "CLEAN_TIME", "CLEAN_CAMPAIGN_TITLE"),
            row("eve@example.com", *[""] * 7, "2023-05-01 08:00:00", ""),
        ],
        [event("eve@example.com", "2023-05-01T08:00:00Z", enabled=False)],
    ),
    "hubspot": (
        "hubspot",
        [
            "Email,Portal Bounce,Portal Unsubscribe,Portal Spam Report,Global Bounce,Marketing Information,Newsletter",
            "ada@example.com,,TRUE,,,TRUE,",
            "bob@example.com,,,TRUE,,,",
            "eve@example.com,TRUE,,,,,TRUE",
        ],
        [event("ada@example.com", enabled=False), event("bob@example.com", enabled=False), "no_choice"],
    ),
    "salesforce": (
        "salesforce",
        [
            '"Id","LastName","Email","HasOptedOutOfEmail","LastModifiedDate"',
            '"003000000000001","L","ada@example.com","true","2024-01-31T10:00:00.000Z"',
            '"003000000000002","B","bob@example.com","1","2024-01-31T10:00:00.000+0000"',
            '"003000000000003","E","eve@example.com","false","2024-01-31T10:00:00.000Z"',
        ],
        [
            event("ada@example.com", "2024-01-31T10:00:00.000000Z", enabled=False),
            event("bob@example.com", "2024-01-31T10:00:00.000000Z", enabled=False),
            "no_choice",
        ],
    ),
    "braze-json": (
        "braze",
        [
            json.dumps({
                "external_id": "1", "email": "ada@example.com", "email_subscribe": "opted_in",
                "email_opted_in_at": "2024-01-31T10:00:00.000Z", "devices": [],
            }),
            json.dumps({
                "external_id": "2", "email": "bob@example.com", "email_subscribe": "unsubscribed",
                "email_unsubscribed_at": "2024-01-31 10:00:00 UTC",
            }),
            json.dumps({"external_id": "3", "email": "eve@example.com", "email_subscribe": "subscribed"}),
            json.dumps({"external_id": "4", "email": "joe@example.com", "email_subscribe": "paused"}),
        ],
        [
            event("ada@example.com", "2024-01-31T10:00:00.000000Z", enabled=True),
            event("bob@example.com", "2024-01-31T10:00:00Z", enabled=False),
            "no_choice",
            "unknown_value",
        ],
    ),
    "klaviyo": (
        "klaviyo",
        [
            "Email,First Name,Email Marketing Consent,Email Marketing Consent Timestamp,SMS Marketing Consent",
            "ada@example.com,Ada,SUBSCRIBED,2024-01-31 10:00:00,",
            "bob@example.com,Bob,UNSUBSCRIBED,2024-01-31T10:00:00+00:00,",
            "eve@example.com,Eve,NEVER_SUBSCRIBED,,",
        ],
        [
            event("ada@example.com", "2024-01-31T10:00:00Z", enabled=True),
            event("bob@example.com", "2024-01-31T10:00:00Z", enabled=False),
            "no_choice",
        ],
    ),
    "onetrust": (
        "onetrust_receipts",
        [
            json.dumps({
                "identifier": "ada@example.com", "language": "en-GB", "interactionDate": "2019-05-14T01:34:33Z",
                "purposes": [
                    {"Id": "email_notifications", "TransactionType": "CONFIRMED"},
                    {"Id": "sms_notifications", "TransactionType": "WITHDRAWN"},
                    {"Id": "other", "TransactionType": "PENDING"},
                ],
            }),
        ],
        [
            event("ada@example.com", "2019-05-14T01:34:33Z", enabled=True)
            | {
                "consents": [
                    {"id": "email_notifications", "enabled": True},
                    {"id": "sms_notifications", "enabled": False},
                ]
            }
        ],
    ),
    "didomi-import": (
        "didomi_import",
        [
            json.dumps({
                "id": "a075ae1b-4dc0-4154-b58d-5abd6bb04061", "created_at": "2020-06-03T21:28:55Z",
                "user": {"organization_user_id": "ada@example.com", "metadata": {"k": "v"}},
                "consents": {"purposes": [{"id": "email_notifications", "enabled": True}]},
            }),
        ],
        [
            event("ada@example.com", "2020-06-03T21:28:55Z", enabled=True)
            | {"id": "a075ae1b-4dc0-4154-b58d-5abd6bb04061"}
        ],
    ),
    "didomi-export": (
        "didomi_export",
        [
            json.dumps({
                "user": {
                    "id": "u1", "organization_user_id": "ada@example.com", "updated_at": "2020-06-03T21:28:55.123Z",
                    "consents": {"channels": [], "purposes": [{"id": "sms_notifications", "enabled": False}]},
                },
                "events": [],
            }),
        ],
        [event("ada@example.com", "2020-06-03T21:28:55.123000Z", enabled=False, consent="sms_notifications")],
    ),
    "opt-out-hashes": (
        "opt_out_hashes",
        ["sha256", "AB" * 32],
        [{"user": {"email_sha256": "AB" * 32}, "consents": [{"id": "email_notifications", "enabled": False}]}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_export_of_another_system_is_read_by_its_ready_mapping(name: str) -> None:
    identifier, records, expected = EXPORTS[name]
    assert mapped(READY[identifier], records, is_csv=not records[0].startswith("{")) == expected


@pytest.mark.parametrize("identifier", READY)
def test_ready_mapping_is_valid_and_has_a_test(identifier: str) -> None:
    assert SCHEMAS.errors(READY[identifier], {"$ref": "#/components/schemas/NewMapping"}) == []
    assert mapping.faults(READY[identifier], CATALOGUE) == []
    assert identifier in {tested for tested, _, _ in EXPORTS.values()}


def own(**fields: Any) -> dict[str, Any]:
    consents = [{"consent": "email_notifications", "from": "ok"}]
    return {"user": {"email": "mail"}, "consents": consents, **fields}


@pytest.mark.parametrize(
    ("dates", "cell", "told"),
    [
        ({"zone": "Europe/Paris"}, "2024-07-01 10:00:00", "2024-07-01T08:00:00Z"),
        ({"zone": "Europe/Paris"}, "2024-01-31", "2024-01-30T23:00:00Z"),
        ({"zone": "+05:30"}, "2024-01-31T10:00:00.5", "2024-01-31T04:30:00.500000Z"),
        ({"zone": "+05:30"}, "2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ({"format": "%d/%m/%Y %H:%M"}, "31/01/2024 10:00", "2024-01-31T10:00:00Z"),
        ({"format": "%m/%d/%Y %I:%M:%S %p"}, "1/31/2024 10:00:00 AM", "2024-01-31T10:00:00Z"),
        ({"format": "unix_seconds"}, "1706695200", "2024-01-31T10:00:00Z"),
        ({"format": "unix_milliseconds"}, "1706695200123", "2024-01-31T10:00:00.123000Z"),
        ({"at": "2020-01-01T00:00:00Z"}, "", "2020-01-01T00:00:00Z"),
        ({}, "31/01/2024 10:00", None),
        ({"format": "unix_seconds"}, "9" * 17, None),
        ({"format": "%d/%m/%Y"}, "01/31/2024", None),
        ({}, "9999-12-31T23:59:59-12:00", None),
    ],
)
def test_date_is_read_in_the_format_and_zone_of_the_mapping(dates: dict[str, str], cell: str, told: str | None) -> None:
    document = own(occurred_at={"from": ["when"], **dates})
    assert mapping.faults(document, CATALOGUE) == []
    (found,) = mapped(document, ["mail,ok,when", f"a@example.com,true,{cell}"], is_csv=True)
    assert found == (event("a@example.com", told, enabled=True) if told else "invalid_instant")


def test_value_that_the_mapping_does_not_know_is_rejected_with_those_that_it_knows() -> None:
    values = [{"value": "Ja", "enabled": True}, {"value": "Nein", "enabled": False}]
    document = own(consents=[{"consent": "email_notifications", "from": "ok", "values": values}])
    reader = Mapped(document, Table("mail,ok", ","))
    assert reader.event("a@example.com, JA ")["consents"][0]["enabled"]
    with pytest.raises(LineError, match="the mapping knows: Ja, Nein"):
        reader.event("a@example.com,true")


def test_export_without_dates_is_read_if_the_import_declares_an_instant() -> None:
    """As Braze exports them by segment."""
    table = Table("external_id,email,email_subscribe", ",")
    with pytest.raises(FileError, match="for occurred_at; or give the import an occurred_at"):
        Mapped(READY["braze"], table)
    event = Mapped(READY["braze"], table, is_dated=True).event("123,ada@example.com,opted_in")
    assert event["consents"] == [{"id": "email_notifications", "enabled": True}]
    assert "occurred_at" not in event


def test_first_rule_that_finds_an_answer_counts_and_a_constant_always_does() -> None:
    rules = [
        {"consent": "email_notifications", "from": "ok"},
        {"consent": "email_notifications", "enabled": False},
        {"consent": "sms_notifications", "enabled": True},
    ]
    found = mapped(own(consents=rules), ["mail,ok", "a@example.com,true", "b@example.com,"], is_csv=True)
    answers = [[choice["enabled"] for choice in one["consents"]] for one in found if isinstance(one, dict)]
    assert answers == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("header", "fields", "message"),
    [
        ("address,ok", {}, "needs a column mail for the user"),
        ("mail,okay", {"ignored": ["*"]}, "needs a column ok for the consent email_notifications"),
        ("mail,ok", {"occurred_at": {"from": ["a", "b"]}}, "needs a column a or b for occurred_at"),
        ("mail,ok,First name", {"ignored": ["other"]}, r'column 3 \("first name"\) is neither used nor ignored'),
        ("mail,ok", {"consents": [{"each": "/x", "consent": "/y", "from": "/z"}]}, "the mapping is for JSON"),
    ],
)
def test_file_without_the_columns_of_the_mapping_is_refused(header: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        Mapped(own(**fields), Table(header, ","))


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"user": {}}, "/user"),
        ({"user": {"id": "a", "email": "b"}}, "/user"),
        ({"consents": [{"consent": "other", "from": "x"}]}, "/consents/0/consent"),
        ({"consents": [{"consent": "email_notifications"}]}, "/consents/0"),
        ({"consents": [{"consent": "email_notifications", "from": "x", "enabled": True}]}, "/consents/0"),
        ({"consents": [{"each": "x", "consent": "/id", "from": "/on"}]}, "/consents/0"),
        ({"consents": [{"each": "/x", "consent": "/i", "from": "/o", "names": [{"id": "a", "consent": "b"}]}]},
         "/consents/0/names"),
        ({"occurred_at": {"format": "DD/MM/YYYY"}}, "/occurred_at/format"),
        ({"occurred_at": {"format": "%Q"}}, "/occurred_at/format"),
        ({"occurred_at": {"format": "%H:%M"}}, "/occurred_at/format"),
        ({"occurred_at": {"zone": "Europe/Nowhere"}}, "/occurred_at/zone"),
        ({"occurred_at": {"zone": "../../etc/passwd"}}, "/occurred_at/zone"),
        ({"occurred_at": {"zone": "+99:00"}}, "/occurred_at/zone"),
    ],
)  # fmt: skip
def test_fault_of_a_mapping_is_named(fields: dict[str, Any], pointer: str) -> None:
    assert [fault["pointer"] for fault in mapping.faults(own(**fields), CATALOGUE)] == [pointer]


@pytest.mark.parametrize("record", ["[]", "{", "1", '{"mail": {}, "ok": []}', '{"mail": "a@example.com", "ok": 1}'])
def test_record_of_another_shape_is_a_reject(record: str) -> None:
    (found,) = mapped(own(), [record], is_csv=False)
    assert isinstance(found, str)
