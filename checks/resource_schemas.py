"""Hold planned arguments against CloudFormation's resource schemas, a source of AWS's rules beside botocore's models.

cfn-lint contains the schemas. ``resource_schemas.yaml`` says which property an argument of Terraform becomes;
``python -m checks.resource_schemas`` prints that map with the rules of each property.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import regex
import yaml
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from local.instance import REGION

MAP = Path(__file__).with_suffix(".yaml")
_RULES = ("enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "items")

Schema = Mapping[str, Any]


@cache
def mapping() -> dict[str, dict[str, Any]]:
    """Return the map: by Terraform type ``{"schema": CloudFormation type, "arguments": {argument: property}}``."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(MAP.read_text())
    return found


@cache
def rules(resource_type: str, argument: str) -> Schema:
    """Return the rules of an argument in the words of JSON Schema; empty if its property has none.

    Raises:
        KeyError: the map has no such argument, or CloudFormation no such property.
    """
    entry = mapping()[resource_type]
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, entry["schema"]).schema
    found = schema["properties"][entry["arguments"][argument]]
    while "$ref" in found:
        # A reference is a path in the schema: #/definitions/TreatMissingData.
        target = schema
        for part in found["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        found = target
    return {name: found[name] for name in ("type", *_RULES) if name in found}


def violations(resource_type: str, values: Mapping[str, Any]) -> list[str]:
    """Return what CloudFormation would refuse in a planned resource's arguments, but for unknown and unset ones."""
    return [
        f"{argument}: {reason}"
        for argument in mapping()[resource_type]["arguments"]
        if values.get(argument) not in (None, "")
        for reason in _check(rules(resource_type, argument), values[argument])
    ]


def _check(schema: Schema, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield from _check_size(schema, len(value), "minItems", "maxItems")
        for item in value:
            yield from _check(schema.get("items", {}), item)
        return
    if isinstance(value, int | float) and schema.get("type") == "string":
        value = str(value)  # such as AllocatedStorage
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        yield from _check_size(schema, len(value), "minLength", "maxLength")
        if "pattern" in schema and not regex.search(schema["pattern"], value):
            yield f"{value!r} does not match {schema['pattern']}"
    else:
        yield from _check_size(schema, value, "minimum", "maximum")


def _check_size(schema: Schema, size: float, least: str, most: str) -> Iterator[str]:
    if size < schema.get(least, size):
        yield f"{size:,} is below the {least} of {schema[least]:,}"
    if size > schema.get(most, size):
        yield f"{size:,} is above the {most} of {schema[most]:,}"


def main() -> None:
    """Print each argument with its property and that property's rules."""
    for resource_type, entry in mapping().items():
        print(f"{resource_type} → {entry['schema']}")
        for argument, name in entry["arguments"].items():
            stated = {key: value for key, value in rules(resource_type, argument).items() if key != "type"}
            text = ", ".join(f"{key} {value}" for key, value in stated.items())
            print(f"  {argument} → {name}: {text if len(text) < 100 else text[:99] + '…'}")


if __name__ == "__main__":
    main()
