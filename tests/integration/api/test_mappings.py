"""Mappings of imports, as a client sees them."""

import pytest

from checks.gateway import Gateway

SHOP = {
    "description": "Opt-outs of the shop",
    "user": {"email": "E-Mail"},
    "occurred_at": {"from": ["Changed"], "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
    "consents": [
        {
            "consent": "email_notifications",
            "from": "Opted out",
            "values": [{"value": "yes", "enabled": False}, {"value": "no", "enabled": None}],
        }
    ],
    "ignored": ["*"],
}


def test_mapping_is_stored_changed_and_listed_beside_the_ready_ones(api: Gateway) -> None:
    made = api.put("/v1/mappings/store", SHOP)
    assert (made.status, made.headers["Location"]) == (201, "/v1/mappings/store"), made.content
    read = api.get("/v1/mappings/store")
    assert read.json == made.json
    assert {name: read.json[name] for name in SHOP} == SHOP
    changed = api.put("/v1/mappings/store", {**read.json, "description": "changed"}, If_Match=made.headers["ETag"])
    assert (changed.status, changed.json["description"]) == (200, "changed")
    assert api.put("/v1/mappings/store", SHOP, If_Match=made.headers["ETag"]).status == 412
    assert api.put("/v1/mappings/store", SHOP, If_None_Match="*").status == 412
    listed = api.get("/v1/mappings").json["items"]
    assert [one["id"] for one in listed] == sorted(one["id"] for one in listed)
    assert {"store": False, "mailchimp": True, "didomi_export": True}.items() <= {
        one["id"]: one["is_ready"] for one in listed
    }.items()


def test_ready_mapping_can_be_read_changed_and_replaced(api: Gateway) -> None:
    ready = api.get("/v1/mappings/klaviyo")
    assert ready.json["is_ready"]
    replaced = api.put("/v1/mappings/klaviyo", {**ready.json, "description": "ours"}, If_Match=ready.headers["ETag"])
    assert (replaced.status, replaced.json["is_ready"]) == (201, False)
    assert api.get("/v1/mappings/klaviyo").json["description"] == "ours"


def test_unknown_mapping_is_named(api: Gateway) -> None:
    assert api.get("/v1/mappings/unknown").status == 404
    answer = api.post("/v1/imports", {"mapping": "unknown"})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/mapping")
    made = api.post("/v1/imports", {"mapping": "mailchimp"})
    assert made.status == 201, made.content
    assert api.get(made.headers["Location"]).json["mapping"] == "mailchimp"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"user": {}}, "/user"),
        ({"consents": []}, "/consents"),
        ({"consents": [{"consent": "unknown", "from": "x"}]}, "/consents/0/consent"),
        ({"occurred_at": {"zone": "Nowhere/Else"}}, "/occurred_at/zone"),
        ({"prefix": "imports/"}, "/prefix"),
        ({"prefix": "exports/store/"}, "/prefix"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_invalid_mapping_is_refused_with_a_pointer(api: Gateway, change: dict[str, object], pointer: str) -> None:
    answer = api.put("/v1/mappings/invalid", {**SHOP, **change})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)
    assert api.get("/v1/mappings/invalid").status == 404


def test_prefix_belongs_to_one_mapping(api: Gateway) -> None:
    assert api.put("/v1/mappings/first", {**SHOP, "prefix": "imports/crm/"}).status == 201
    answer = api.put("/v1/mappings/second", {**SHOP, "prefix": "imports/crm/"})
    assert (answer.status, answer.json["errors"][0]["detail"]) == (422, "is the prefix of the mapping first")
    assert api.put("/v1/mappings/first", {**SHOP, "prefix": "imports/crm/"}).status == 200
