"""Check a value against a schema of ``openapi.json``: all errors at once, each with an exact JSON Pointer.

Supports the subset of JSON Schema 2020-12 that the document uses. ``tests/unit/api`` verifies that it uses no other
keyword, and compares the verdicts with the reference implementation. The compiled validators that were tried report the
object instead of the unknown field, and cost more at a cold start than they save.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pmp import instants

Errors = list[dict[str, str]]

_NAMES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_MEANINGS = {
    r"^[^ ]+$": "must not contain a space",
    r"^[\s\S]*\S[\s\S]*$": "must not be blank",
    r"^https?://[^ ]+$": "must be an http or https URL",
    r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$": "must be a language tag (BCP 47) such as de-CH",
    r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$": "must be a country or its subdivision (ISO 3166) such as DE or US-CA",
    r"^[a-z][a-z0-9_]{0,31}$": "must be a namespace: a lower-case letter, then up to 31 letters, digits or _",
    r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$": "must be a UUID",
}
"""By pattern, what it asks for."""
_MOST_ERRORS = 50
"""A body with a thousand invalid items gets a short response with the first of them."""


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> re.Pattern[str]:
    # JSON Schema's $ matches only at the very end; Python's also matches before a final line break.
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (int, "integer"), (float, "number"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def escape(part: str) -> str:
    """Escape a part of a JSON Pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")


def _expected(properties: dict[str, Any], patterns: dict[str, Any]) -> str:
    """What is wrong with the name of a member that the schema of its object does not know."""
    if patterns:
        return " or ".join(_MEANINGS.get(pattern, f"must match {pattern}") for pattern in patterns)
    return f"is not a known property; known properties: {', '.join(properties) or 'none'}"


class Schemas:
    """The schemas of one document; references are resolved."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Take the whole OpenAPI document; only local references (``#/…``) are followed."""
        self._document = document

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """Follow ``$ref``; keywords beside it (a description) are ignored."""
        while "$ref" in node:
            target: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def errors(self, value: Any, schema: dict[str, Any], pointer: str = "") -> Errors:
        """The value's errors; empty if it is valid.

        Args:
            value: parsed from JSON.
            schema: a schema of this document.
            pointer: the value's own, a prefix of each error's pointer.
        """
        found: Errors = []
        self._check(value, schema, pointer, found)
        return found

    def _check(self, value: Any, schema: dict[str, Any], pointer: str, found: Errors) -> None:
        if len(found) >= _MOST_ERRORS:
            return
        schema = self.resolve(schema)
        kind = _type_of(value)
        wanted = schema.get("type")
        if wanted is not None:
            names = [wanted] if isinstance(wanted, str) else wanted
            if kind not in names and not (kind == "integer" and "number" in names):
                found.append({"pointer": pointer, "detail": f"must be {' or '.join(_NAMES[name] for name in names)}"})
                return
        if "const" in schema and value != schema["const"]:
            found.append({"pointer": pointer, "detail": f"must be {schema['const']}"})
        if "enum" in schema and value not in schema["enum"]:
            found.append({"pointer": pointer, "detail": f"must be one of {', '.join(map(str, schema['enum']))}"})
        check = _CHECKS.get(kind)
        if check is not None:
            check(self, value, schema, pointer, found)
        if "oneOf" in schema:
            self._one_of(value, schema["oneOf"], pointer, found)

    def _string(self, value: str, schema: dict[str, Any], pointer: str, found: Errors) -> None:
        def wrong(detail: str) -> None:
            found.append({"pointer": pointer, "detail": detail})

        if "\x00" in value:
            wrong("must not contain the character U+0000")
        elif any("\ud800" <= character <= "\udfff" for character in value):
            wrong("must not contain an unpaired surrogate")
        elif len(value) < schema.get("minLength", 0):
            wrong(f"must have at least {schema['minLength']} characters")
        elif len(value) > schema.get("maxLength", len(value)):
            wrong(f"must have at most {schema['maxLength']} characters")
        elif "pattern" in schema and not _pattern(schema["pattern"]).search(value):
            wrong(_MEANINGS.get(schema["pattern"]) or f"must match {schema['pattern']}")
        elif schema.get("format") == "date-time":
            try:
                instants.read(value)
            except ValueError as error:
                wrong(str(error))

    def _number(self, value: float, schema: dict[str, Any], pointer: str, found: Errors) -> None:
        if value < schema.get("minimum", value):
            found.append({"pointer": pointer, "detail": f"must be at least {schema['minimum']}"})
        elif value > schema.get("maximum", value):
            found.append({"pointer": pointer, "detail": f"must be at most {schema['maximum']}"})

    def _array(self, value: list[Any], schema: dict[str, Any], pointer: str, found: Errors) -> None:
        if len(value) < schema.get("minItems", 0):
            found.append({"pointer": pointer, "detail": f"must have at least {schema['minItems']} items"})
        elif len(value) > schema.get("maxItems", len(value)):
            found.append({"pointer": pointer, "detail": f"must have at most {schema['maxItems']} items"})
        elif "items" in schema and not schema.get(EACH_ON_ITS_OWN):
            for index, item in enumerate(value):
                self._check(item, schema["items"], f"{pointer}/{index}", found)

    def _object(self, value: dict[str, Any], schema: dict[str, Any], pointer: str, found: Errors) -> None:
        def wrong(name: str, detail: str) -> None:
            found.append({"pointer": f"{pointer}/{escape(name)}", "detail": detail})

        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        if len(value) < schema.get("minProperties", 0):
            found.append({"pointer": pointer, "detail": f"must have at least {schema['minProperties']} members"})
        if len(value) > schema.get("maxProperties", len(value)):
            found.append({"pointer": pointer, "detail": f"must have at most {schema['maxProperties']} members"})
        for name in schema.get("required", ()):
            if name not in value:
                wrong(name, "is missing")
        for name, others in schema.get("dependentRequired", {}).items():
            for other in others:
                if name in value and other not in value:
                    wrong(other, f"is required together with {name}")
        for name, item in value.items():
            named = [member for pattern, member in patterns.items() if _pattern(pattern).search(name)]
            for member in [properties[name]] if name in properties else named:
                self._check(item, member, f"{pointer}/{escape(name)}", found)
            is_open = schema.get("additionalProperties") is not False or name in properties or named
            if not is_open and len(found) < _MOST_ERRORS:
                wrong(name[:100], _expected(properties, patterns))

    def _one_of(self, value: Any, alternatives: list[dict[str, Any]], pointer: str, found: Errors) -> None:
        outcomes: list[Errors] = [self.errors(value, alternative, pointer) for alternative in alternatives]
        if sum(not outcome for outcome in outcomes) == 1:
            return
        closest = [outcome for outcome in outcomes if len(outcome) == min(map(len, outcomes))]
        if len(closest) > 1:
            found.append({"pointer": pointer, "detail": f"must be one of: {self._names(alternatives)}"})
        found.extend(closest[0])

    def _names(self, alternatives: list[dict[str, Any]]) -> str:
        return ", ".join(
            "{" + ", ".join(self.resolve(alternative).get("properties", {})) + "}" for alternative in alternatives
        )


_CHECKS: dict[str, Callable[[Schemas, Any, dict[str, Any], str, Errors], None]] = {
    "string": Schemas._string,  # noqa: SLF001 - the class's own table
    "integer": Schemas._number,  # noqa: SLF001
    "number": Schemas._number,  # noqa: SLF001
    "array": Schemas._array,  # noqa: SLF001
    "object": Schemas._object,  # noqa: SLF001
}

KEYWORDS = {"$ref", "type", "const", "enum", "minLength", "maxLength", "pattern", "format", "minimum", "maximum"} | {
    "minItems", "maxItems", "items", "properties", "required", "dependentRequired", "additionalProperties", "oneOf",
    "patternProperties", "minProperties", "maxProperties",
}  # fmt: skip
"""Keywords that are checked; ``additionalProperties`` only as ``false`` or ``true``, and as ``false`` beside
``patternProperties``."""

EACH_ON_ITS_OWN = "x-pmp-each-on-its-own"
"""Keyword of an array whose route checks the items itself, because one that is invalid does not stop the others."""

ANNOTATIONS = {EACH_ON_ITS_OWN, "description", "examples", "default", "title"}
