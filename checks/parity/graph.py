"""What a layer deploys, with every reference named: the resources of a plan as a graph.

A plan leaves an id unknown until apply, and with it each argument that takes it: a route table's id, a subnet's, an
authorizer's. To see what refers to what, Terraform plans a second time, in a test that overrides every computed value
with a token of its own (https://developer.hashicorp.com/terraform/language/tests/mocking). Where an argument that was
unknown then holds a token, it names the resource that the token stands for.

The same values, written into a state file, are a deployed layer, so that an update can be planned as well: with the
real provider, which says what it would change in place and what it would replace.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from checks.inventory import resource_type
from checks.planning import Plan, Planner, entries

UNKNOWN = "(known after apply)"
"""Stands for a value of its own that only the apply knows, such as a resource's id."""

ACTIONS = "planned actions"
"""Pseudo-argument of a planned update: ``update``, ``delete, create`` and so on."""

Values = dict[str, Any]
Resources = dict[str, Values]

# Texts and numbers that no configuration has. Five digits number the token.
_TEXT, _NUMBER = "ref{:05d}x", 770000000
_TOKEN = re.compile(r"(?:arn:aws:[a-z0-9-]+:eu-west-1:000000000000:|lt-|https://)?(?:ref(\d{5})x|7700(\d{5}))")
# Where the provider or PMP refuses any other text than such a one.
_FORMS = {
    ("aws_launch_template", "id"): "lt-{}",
    ("aws_acm_certificate", "resource_record_type"): "CNAME",
    ("aws_lambda_alias", "arn"): "arn:aws:lambda:eu-west-1:000000000000:function:{}:live",
}

# What an update changes: settings that a resource takes in place, and some that replace it.
CHANGES = {
    r"log_retention_days = \d+": "log_retention_days = 90",
    r"backup_retention_days = \d+": "backup_retention_days = 7",
    r"max = \d+": "max = 2000",
    r'insights_mode( *)= "\w+"': r'insights_mode\1= "standard"',
    r'"(10\.\d+)\.60\.0/24"': r'"\1.70.0/24"',
    r"memory_mb( *)= \d+": r"memory_mb\1= 2048",
    r"rate_per_second = 5": "rate_per_second = 6",
    r'subdomain( *)= "(\S+)"': r'subdomain\1= "new.\2"',
}
RELEASE = "1" * 40


@dataclass(frozen=True)
class Graph:
    """The resources of one plan by address.

    ``owners`` has, for each token in their values, the address and the attribute that it stands for.
    """

    resources: Resources
    owners: dict[int, tuple[str, str]]

    def named(self, value: str, name: Callable[[str], str]) -> str:
        """Return a text with every token replaced by ``${resource.attribute}``.

        Args:
            value: a text of a resource.
            name: gives the name of a resource for its address.
        """

        def reference(match: re.Match[str]) -> str:
            address, attribute = self.owners[int(match[1] or match[2])]
            return f"${{{name(address)}.{attribute}}}"

        return _TOKEN.sub(reference, value)


class _Tokens:
    """Hands out tokens in place of the computed values of resources."""

    def __init__(self) -> None:
        self.owners: dict[int, tuple[str, str]] = {}
        self._numbers = count(1)

    def text(self, address: str, attribute: str) -> str:
        kind, last = resource_type(address), attribute.rpartition(".")[2]
        form = _FORMS.get((kind, last), f"arn:aws:{kind.split('_')[1]}:eu-west-1:000000000000:{{}}")
        if (kind, last) not in _FORMS and not last.endswith("arn"):
            form = "{}"
        return form.format(_TEXT.format(self._next(address, attribute)))

    def _next(self, address: str, attribute: str) -> int:
        number = next(self._numbers)
        self.owners[number] = (address, attribute)
        return number

    def of_type(self, kind: Any, address: str, attribute: str) -> Any:
        """Return a value of a type of Terraform's, such as ``string`` or ``["list", ["object", {…}]]``."""
        if kind == "string":
            return self.text(address, attribute)
        if kind == "number":
            return _NUMBER + self._next(address, attribute)
        if kind == "bool":
            return False
        outer, inner = kind
        if outer == "object":
            return {name: self.of_type(each, address, f"{attribute}.{name}") for name, each in inner.items()}
        return {} if outer == "map" else [self.of_type(inner, address, attribute)]

    def filled(self, value: Any, unknown: Any, address: str, attribute: str) -> Any:
        """Return a partly known value with tokens where it is unknown."""
        if unknown is True:
            return self.text(address, attribute)
        if isinstance(unknown, dict):
            known = value or {}
            return known | {
                name: self.filled(known.get(name), inner, address, f"{attribute}.{name}")
                for name, inner in unknown.items()
            }
        if isinstance(unknown, list):
            known = value or [{}] * len(unknown)
            return [self.filled(*pair, address, attribute) for pair in zip(known, unknown, strict=True)]
        return value


def _overrides(plan: Plan, schemas: Values, tokens: _Tokens) -> list[dict[str, Any]]:
    overrides = []
    for address, unknown in plan.unknown.items():
        attributes = schemas[resource_type(address)]["attributes"]
        values = {}
        for name, part in unknown.items():
            if not part or not attributes.get(name, {}).get("computed"):
                continue
            if part is True and "type" in attributes[name]:
                values[name] = tokens.of_type(attributes[name]["type"], address, name)
            elif part is not True:
                values[name] = tokens.filled(plan.resources[address].get(name), part, address, name)
        overrides.append({"target": address, "override_during": "plan", "values": values})
    return overrides


def _resolved(address: str, value: Any, unknown: Any, resolved: Any, owners: dict[int, tuple[str, str]]) -> Any:
    """Return a planned value with references in the place of what is unknown."""
    if unknown is True:
        return _foreign(address, resolved, owners)
    if isinstance(unknown, dict) and isinstance(resolved, dict):
        known = value or {}
        return known | {
            name: _resolved(address, known.get(name), part, resolved.get(name), owners)
            for name, part in unknown.items()
            if part
        }
    if isinstance(unknown, list) and isinstance(value, list) and isinstance(resolved, list):
        # A set whose members are unknown may have another order in the second plan, but then it has one kind of member.
        if len(value) == len(unknown) == len(resolved):
            return [_resolved(address, *parts, owners) for parts in zip(value, unknown, resolved, strict=True)]
        return _foreign(address, resolved, owners)
    return value


def _foreign(address: str, value: Any, owners: dict[int, tuple[str, str]]) -> Any:
    """Return a value with ``UNKNOWN`` for each text in it that refers to no other resource."""
    if isinstance(value, dict):
        return {name: _foreign(address, part, owners) for name, part in value.items()}
    if isinstance(value, list):
        return [_foreign(address, part, owners) for part in value]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        found = [owners[int(match[1] or match[2])][0] for match in _TOKEN.finditer(str(value))]
        return value if any(owner != address for owner in found) else UNKNOWN
    return value


def _own(address: str, value: Any, owners: dict[int, tuple[str, str]]) -> bool:
    return bool(_foreign(address, value, owners) != value)


def deployed(
    planning: Planner, layer: str, environment: str, schemas: Values | None = None
) -> tuple[Graph, dict[str, Any]]:
    """Return what a first deployment makes: as a graph, and as a state file of version 4.

    Args:
        planning: plans with one source of modules.
        layer: as in ``LAYERS``.
        environment: as in ``ENVIRONMENTS``.
        schemas: the providers' resource types, where the caller has read them already; they are 13 MB.

    Raises:
        TerraformError: Terraform failed.
    """
    tokens, schemas = _Tokens(), schemas or planning.schemas(layer)
    overrides = _overrides(planning.plan(layer, environment), schemas, tokens)
    test = {"override_resource": overrides, "run": {"plan": {"command": "plan"}}}
    resolved = planning.test(layer, environment, test)
    plan = planning.plan(layer, environment)
    resources = {
        address: _resolved(address, values, plan.unknown[address], resolved[address], tokens.owners)
        for address, values in plan.resources.items()
    }
    known = {}
    for address, values in plan.resources.items():
        unknown, owners = plan.unknown[address], tokens.owners
        merged: Values = _merged(address, values, unknown, resolved[address], owners)
        attributes = schemas[resource_type(address)]["attributes"]
        known[address] = _applied(merged, unknown, attributes, partial(_own, address, owners=owners))
    return Graph(resources, tokens.owners), _state(planning.document(layer, environment), known)


def _applied(applied: Values, unknown: Values, attributes: Values, own: Callable[[Any], bool]) -> Values:
    """Return the attributes of a resource in the state file.

    What the configuration leaves to AWS stays empty, because a token in its place would be a setting; names stay.
    """
    left = {name for name, attribute in attributes.items() if attribute.get("optional") and attribute.get("computed")}
    for name in left - {"id", "name"}:
        if unknown.get(name) is True and own(applied.get(name)):
            applied[name] = None if isinstance(attributes[name].get("type"), str) else []
    return applied


def _merged(address: str, value: Any, unknown: Any, resolved: Any, owners: dict[int, tuple[str, str]]) -> Any:
    if unknown is True:
        return resolved
    if isinstance(unknown, dict) and isinstance(resolved, dict):
        known = value or {}
        return known | {
            name: _merged(address, known.get(name), part, resolved.get(name), owners)
            for name, part in unknown.items()
            if part
        }
    if isinstance(unknown, list) and any(unknown):
        return _emptied(_resolved(address, value, unknown, resolved, owners))
    return value


def _emptied(value: Any) -> Any:
    """Return a value without what only the apply knows."""
    if isinstance(value, dict):
        return {name: _emptied(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_emptied(part) for part in value]
    return None if value == UNKNOWN else value


def _state(document: dict[str, Any], known: Resources) -> dict[str, Any]:
    resources: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in entries(document["planned_values"]):
        group = resources.setdefault(
            (entry["module"], entry["type"], entry["name"]),
            {
                **({"module": entry["module"]} if entry["module"] else {}),
                "mode": "managed",
                "type": entry["type"],
                "name": entry["name"],
                "provider": f'provider["{entry["provider_name"]}"]',
                "instances": [],
            },
        )
        group["instances"].append(
            {
                **({"index_key": entry["index"]} if "index" in entry else {}),
                "schema_version": entry["schema_version"],
                "attributes": known[entry["address"]],
                "sensitive_attributes": [],
            }
        )
    version = document["terraform_version"]
    head = {"version": 4, "terraform_version": version, "serial": 1, "lineage": "parity", "outputs": {}}
    return head | {"resources": list(resources.values())}


def updated(planning: Planner, graph: Graph, state: dict[str, Any], layer: str, environment: str) -> Graph:
    """Return what the update in ``CHANGES`` would do to a deployed layer: each changed resource with its new values.

    Raises:
        TerraformError: Terraform failed.
    """
    document = planning.update(layer, environment, state, CHANGES, RELEASE)
    resources = {}
    for change in document["resource_changes"]:
        actions = [action for action in change["change"]["actions"] if action not in {"no-op", "read"}]
        if actions and change["mode"] == "managed":
            before, after = change["change"]["before"] or {}, change["change"]["after"] or {}
            unknown = change["change"].get("after_unknown") or {}
            changed = {
                name: UNKNOWN if unknown.get(name) is True else after.get(name)
                for name in before.keys() | after.keys() | unknown.keys()
                if before.get(name) != after.get(name) or unknown.get(name)
            }
            # A value that becomes sensitive is an update without a difference.
            if changed:
                resources[change["address"]] = changed | {ACTIONS: ", ".join(actions)}
    return Graph(resources, graph.owners)
