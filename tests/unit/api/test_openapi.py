"""The served OpenAPI document is consistent with itself and with the Terraform modules."""

import json
import re
from typing import Any

import hcl2
import jsonschema  # type: ignore[import-untyped]
import pytest

from ops.settings import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "lambda" / "pmp" / "openapi.json").read_text())
SCOPES: dict[str, str] = DOCUMENT["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]["scopes"]
OPERATIONS: list[dict[str, Any]] = [
    operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
]

# The parts of each scope's description, and the operations that each part describes.
MEANING = {
    "pmp/check": {"check consents": {"checkConsents"}},
    "pmp/read": {
        "read users": {"listUsers", "getUser", "listUserEvents", "listUserConsents", "exportUser"},
        "events": {"listEvents", "getEvent"},
        "consents": {"listConsents", "getConsent", "listConsentVersions"},
        "imports": {"listImports", "getImport", "getImportPreview", "getImportRejects", "listMappings", "getMapping"},
        "and vendors": {"listVendors", "getVendor"},
        "check consents": {"checkConsents"},
    },
    "pmp/write": {
        "create and change users": {"createUser", "changeUser"},
        "record events": {"createEvent", "createEvents", "recordSignal"},
        "create tokens for users": {"createToken"},
        "create and cancel imports": {"createImport", "cancelImport"},
    },
    "pmp/admin": {
        "change the consent catalogue and import mappings": {"putConsent", "retireConsent", "putMapping"},
        "create, read and delete exports": {"createExport", "getExport", "listExports", "deleteExport"},
        "merge and erase users": {"mergeUsers", "eraseUser"},
        "create tokens for erasures": {"createToken"},
        "and find their proof": {"lookupUser"},
        "manage subscriptions": {
            "listSubscriptions",
            "createSubscription",
            "getSubscription",
            "changeSubscription",
            "deleteSubscription",
            "rotateSubscription",
            "replaySubscription",
        },
        "and see who was told": {"listUserDeliveries"},
    },
}


@pytest.mark.parametrize("scope", MEANING)
def test_scope_description_names_the_operations_that_require_it(scope: str) -> None:
    rest = SCOPES[scope].lower()
    for part in MEANING[scope]:
        assert part in rest, f"{scope}: its description does not name {part!r}"
        rest = rest.replace(part, "", 1)
    assert not rest.strip(" ,;"), f"{scope}: its description also names {rest.strip(' ,')!r}"
    for operation in OPERATIONS:
        required = {name for entry in operation["security"] for name in entry.get("oauth2", ())}
        described = operation["operationId"] in set().union(*MEANING[scope].values())
        assert (scope in required) == described, f"{operation['operationId']} requires {required or 'no scope'}"


def test_cognito_scope_descriptions_equal_those_of_the_document() -> None:
    configuration = hcl2.loads((ROOT / "modules" / "identity" / "main.tf").read_text())
    [scopes] = [block["scopes"] for block in configuration["locals"] if "scopes" in block]
    assert {f"pmp/{name}": str(text).strip('"') for name, text in scopes.items()} == SCOPES


@pytest.mark.parametrize("scope", SCOPES)
def test_scope_description_has_at_most_256_characters(scope: str) -> None:
    # CreateResourceServer, ScopeDescription: 1 to 256 characters.
    assert 1 <= len(SCOPES[scope]) <= 256


def test_every_response_header_is_a_component_with_the_same_name() -> None:
    """The CORS configuration exposes the names of ``components.headers``."""
    used = set[str]()
    responses = [*DOCUMENT["components"]["responses"].values()]
    responses += [response for operation in OPERATIONS for response in operation["responses"].values()]
    for response in responses:
        for name, header in response.get("headers", {}).items():
            assert header == {"$ref": f"#/components/headers/{name}"}
            used.add(name)
    assert used == set(DOCUMENT["components"]["headers"])


def _schemas(node: Any) -> list[dict[str, Any]]:
    """Return every schema below a node of the document, references followed."""
    if isinstance(node, list):
        return [schema for item in node for schema in _schemas(item)]
    if not isinstance(node, dict):
        return []
    if "$ref" in node:
        target: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _schemas(target)
    found = [node] if "type" in node else []
    return found + [schema for key, value in node.items() if key != "example" for schema in _schemas(value)]


def test_requests_are_closed_and_responses_are_open_to_new_members() -> None:
    for operation in OPERATIONS:
        for schema in _schemas([operation.get("requestBody", {}), operation.get("parameters", [])]):
            assert schema["type"] != "object" or schema["additionalProperties"] is False, operation["operationId"]
        for schema in _schemas(operation["responses"]):
            assert schema.get("additionalProperties") is not False, operation["operationId"]


def test_header_parameters_are_components() -> None:
    """The CORS configuration allows the header parameters in ``components.parameters``."""
    inline = [
        parameter for operation in OPERATIONS for parameter in operation.get("parameters", ()) if "in" in parameter
    ]
    assert "header" not in {parameter["in"] for parameter in inline}


def _texts(node: Any, *, names: bool = False) -> list[str]:
    """Return every summary and description below a node; ``names``: its keys are property names, not keywords."""
    if isinstance(node, list):
        return [text for item in node for text in _texts(item)]
    if not isinstance(node, dict):
        return []
    found = list[str]()
    for key, value in node.items():
        if isinstance(value, str):
            found += [value] if key in {"summary", "description"} and not names else []
        elif key != "example" or names:
            found += _texts(value, names=key == "properties")
    return found


def test_texts_say_user_instead_of_person_or_subject() -> None:
    unwanted = re.compile(r"\b(?:persons?|people|subjects?|whoever)\b", re.IGNORECASE)
    assert [text for text in _texts(DOCUMENT) if unwanted.search(text)] == []


def test_operations_have_summaries_and_descriptions_are_sentences() -> None:
    assert [operation["operationId"] for operation in OPERATIONS if not operation.get("summary")] == []
    descriptions = set(_texts(DOCUMENT)) - {operation["summary"] for operation in OPERATIONS}
    assert [text for text in descriptions if not text.endswith(".")] == []


def _examples() -> list[Any]:
    """Return every JSON body of a request or of a successful response, with its schema and where it is."""
    found = []
    for operation in OPERATIONS:
        bodies = {"request": operation.get("requestBody", {})}
        bodies |= {status: response for status, response in operation["responses"].items() if status.startswith("2")}
        for name, body in bodies.items():
            if media := body.get("content", {}).get("application/json"):
                found.append(pytest.param(media, id=f"{operation['operationId']} {name}"))
    return found


def _undocumented(value: Any, schema: dict[str, Any], pointer: str = "") -> list[str]:
    """Return pointers to the members of an example that its schema does not describe."""
    if "$ref" in schema:
        target: Any = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _undocumented(value, target, pointer)
    if isinstance(value, list):
        return [
            found
            for index, item in enumerate(value)
            for found in _undocumented(item, schema["items"], f"{pointer}/{index}")
        ]
    alternatives = [*schema.get("allOf", ()), *schema.get("oneOf", ())]
    if isinstance(value, dict) and alternatives:
        outcomes = [_undocumented(value, alternative, pointer) for alternative in alternatives]
        return sorted(set(outcomes[0]).intersection(*outcomes[1:]))
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    found = [f"{pointer}/{name}" for name in value.keys() - schema["properties"].keys()]
    for name in value.keys() & schema["properties"].keys():
        found += _undocumented(value[name], schema["properties"][name], f"{pointer}/{name}")
    return found


@pytest.mark.parametrize("media", _examples())
def test_example_is_valid_and_has_only_documented_members(media: dict[str, Any]) -> None:
    schema = {"components": DOCUMENT["components"], **media["schema"]}
    jsonschema.Draft202012Validator(schema).validate(media["example"])
    assert _undocumented(media["example"], media["schema"]) == []


def test_path_parameters_have_examples() -> None:
    parameters = [*DOCUMENT["components"]["parameters"].values()]
    parameters += [parameter for operation in OPERATIONS for parameter in operation.get("parameters", ())]
    assert [parameter for parameter in parameters if parameter.get("in") == "path" and "example" not in parameter] == []
