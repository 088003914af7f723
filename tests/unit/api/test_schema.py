"""Compare the schema interpreter with the reference implementation, for every schema that validates a request."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmp.schema import ANNOTATIONS, KEYWORDS, Schemas

DOCUMENT: dict[str, Any] = json.loads(Path("lambda/pmp/openapi.json").read_text())
SCHEMAS = Schemas(DOCUMENT)
BODIES = sorted({next(iter(operation["requestBody"]["content"].values()))["schema"]["$ref"]
                 for methods in DOCUMENT["paths"].values() for operation in methods.values()
                 if "requestBody" in operation})  # fmt: skip


def _walk(schema: dict[str, Any]) -> Any:
    schema = SCHEMAS.resolve(schema)
    yield schema
    for child in [*schema.get("properties", {}).values(), *schema.get("patternProperties", {}).values()]:
        yield from _walk(child)
    for child in schema.get("oneOf", ()):
        yield from _walk(child)
    if "items" in schema:
        yield from _walk(schema["items"])


def _request_schemas() -> Any:
    for reference in BODIES:
        yield from _walk({"$ref": reference})
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                yield from _walk(SCHEMAS.resolve(parameter)["schema"])


def test_request_schemas_use_only_checked_keywords() -> None:
    for schema in _request_schemas():
        assert schema.keys() <= KEYWORDS | ANNOTATIONS, schema
        assert schema.get("format", "uuid") in {"uuid", "date-time", "email"}, schema
        assert schema.get("additionalProperties", False) is False


def test_every_uuid_has_a_pattern_and_every_pattern_is_anchored() -> None:
    for schema in _request_schemas():
        assert schema.get("format") != "uuid" or "pattern" in schema
        for pattern in [schema.get("pattern", "^$"), *schema.get("patternProperties", {})]:
            assert re.fullmatch(r"\^.*\$", pattern), schema


names = st.sampled_from(
    [
        "id",
        "email",
        "external_ids",
        "user",
        "consents",
        "enabled",
        "version",
        "checks",
        "consent",
        "occurred_at",
        "description",
        "channel",
        "expires_after_days",
        "models_by_country",
        "translations",
        "US-CA",
        "de",
        "format",
        "compression",
        "x/~y",
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            "email_notifications",
            "Email",
            "a@b.cd",
            "ndjson",
            "gzip",
            "email",
            "opt_out",
            "",
            "x" * 300,
            "01a20aa5-7b3c-7a26-b54f-452299678f07",
            "01a20aa5-7b3c-7a26-b54f-452299678f07\n",
        ]
    )
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)


@pytest.mark.parametrize("reference", BODIES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_interpreter_agrees_with_the_reference_implementation(reference: str, data: st.DataObject) -> None:
    document = data.draw(documents)
    if '"occurred_at"' in json.dumps(document) or '"as_of"' in json.dumps(document):
        return  # the reference implementation does not check date-times; tests below do
    validator = jsonschema.Draft202012Validator({**DOCUMENT, "$ref": reference})
    # JSON knows one kind of number; parse_json makes 1.0 an integer before a schema sees it.
    document = json.loads(
        json.dumps(document), parse_float=lambda text: int(float(text)) if float(text) % 1 == 0 else float(text)
    )
    assert (SCHEMAS.errors(document, {"$ref": reference}) == []) == validator.is_valid(document)


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ({}, "/email", "is missing"),
        ({"email": 1}, "/email", "must be a string"),
        (
            {"email": "a@b.c", "a/b~c": 1},
            "/a~1b~0c",
            "is not a known property; known properties: email, phone, external_ids",
        ),
        ({"email": "a@b.c", "external_ids": {"crm": 1}}, "/external_ids/crm", "must be a string"),
        ({"email": "a\x00b"}, "/email", "must not contain the character U+0000"),
        ({"email": "a\ud800b"}, "/email", "must not contain an unpaired surrogate"),
        ({"email": "a" * 255}, "/email", "must have at most 254 characters"),
        ([], "", "must be an object"),
    ],
)
def test_error_points_at_the_invalid_value(document: Any, pointer: str, detail: str) -> None:
    assert {"pointer": pointer, "detail": detail} in SCHEMAS.errors(document, {"$ref": "#/components/schemas/NewUser"})


@pytest.mark.parametrize(
    ("document", "schema", "pointer", "detail"),
    [
        ({"description": " \n\t", "channel": "web"}, "NewConsent", "/description", "must not be blank"),
        ({"user": {"id": "x"}, "consents": [{"id": "a", "enabled": True}]}, "NewEvent", "/user/id", "must be a UUID"),
        (
            {"description": "x", "channel": "web", "translations": {"german": "ja", "d/e": "ja"}},
            "NewConsent",
            "/translations/d~1e",
            "must be a language tag (BCP 47) such as de-CH",
        ),
    ],
)
def test_failed_pattern_is_explained_in_words(document: Any, schema: str, pointer: str, detail: str) -> None:
    found = SCHEMAS.errors(document, {"$ref": f"#/components/schemas/{schema}"})
    assert found == [{"pointer": pointer, "detail": detail}]


def test_description_may_contain_blank_lines() -> None:
    document = {"description": "\n one\n\n two ", "channel": "web"}
    assert SCHEMAS.errors(document, {"$ref": "#/components/schemas/NewConsent"}) == []


def test_all_errors_are_reported_together() -> None:
    event = {"user": {"id": "x"}, "consents": [{"id": "email_notifications", "enabled": "yes"}, {"id": "A"}], "more": 1}
    pointers = {error["pointer"] for error in SCHEMAS.errors(event, {"$ref": "#/components/schemas/NewEvent"})}
    assert pointers == {"/user/id", "/consents/0/enabled", "/consents/1/id", "/consents/1/enabled", "/more"}


def test_long_list_of_errors_is_cut_off() -> None:
    found = SCHEMAS.errors({"checks": [{}] * 1000}, {"$ref": "#/components/schemas/Checks"})
    assert 50 <= len(found) < 60


def test_user_with_both_id_and_email_is_refused() -> None:
    both = {"id": "01a20aa5-7b3c-7a26-b54f-452299678f07", "email": "a@b.cd"}
    found = SCHEMAS.errors({"checks": [{"user": both, "consent": "x"}]}, {"$ref": "#/components/schemas/Checks"})
    assert found[0] == {"pointer": "/checks/0/user", "detail": "must be one of: {id}, {email}, {phone}, {external_id}"}


def test_invalid_date_time_is_refused_with_the_reason() -> None:
    schema = {"type": "string", "format": "date-time"}
    assert SCHEMAS.errors("2026-01-31T12:00:00+23:59", schema) == []
    detail = "must be an RFC 3339 date-time with an offset, for example 2026-01-31T12:00:00Z"
    assert SCHEMAS.errors("2026-01-31", schema) == [{"pointer": "", "detail": detail}]
