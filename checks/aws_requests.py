"""Hold AWS requests against botocore's models: what AWS refuses and an emulator accepts.

``python -m checks.aws_requests [RECORD…]`` reads records of requests, one JSON object a line: ``{"service": "ec2",
"operation": "CreateVpc", "parameters": {…}}``, with parameters named as boto3 names them; a null stands for a withheld
secret, ``{"bytes": 12}`` for a value of so many bytes. The laptop platform writes them (``local.ministack.requests``);
its own record is the default. Every violation is one line, and with one the exit status is 1.

The rules are those that the models carry as data (required members, types, enumerations, patterns, lengths, ranges) and
those that EC2 states only in the documentation of a member (``Valid characters: …``, ``Up to 255 characters``).
"""

import argparse
import html
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import botocore.session
import regex
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationNotFoundError, ServiceModel, Shape, StructureShape

from local import instance as instances

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}
# Members that some services ask for and an SDK fills in by itself.
_FILLED_BY_SDK = "idempotencyToken"
_CHARACTERS = regex.compile(r"(?:Valid|Allowed) characters(?: are|:) a-z, A-Z, 0-9, spaces,? and (?P<signs>\S+)")
_LENGTH = regex.compile(
    r"(?:Up to|Maximum|a maximum of) (?P<most>[0-9,]+) (?P<kind>ASCII |Unicode |UTF-8 )?characters", regex.IGNORECASE
)
_FORBIDDEN_START = regex.compile(r"(?:Can't start|May not begin|cannot start) with (?P<start>[a-z.]+[-:]?)")


class Violation(NamedTuple):
    """What AWS would refuse: where in the request (``Tags[0].Key``), and why."""

    service: str
    operation: str
    place: str
    reason: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.service}:{self.operation} {self.place or '(request)'}: {self.reason}"


class DocumentedRules(NamedTuple):
    """Rules of a text member that stand in its documentation alone; None where it states none."""

    characters: str | None
    most: int | None
    is_ascii: bool
    forbidden_start: str | None


def violations(service: str, operation: str, parameters: Mapping[str, Any]) -> list[Violation]:
    """Return everything in a request that the service's model forbids.

    Args:
        service: as boto3 names it, such as ``cognito-idp``.
        operation: as AWS names it, such as ``CreateVpc``.
        parameters: as boto3 takes them, such as ``{"CidrBlock": "10.0.0.0/16"}``.

    Raises:
        LookupError: botocore knows no such service or operation.
    """
    shape = _operation(service, operation)
    if shape is None:
        return [Violation(service, operation, name, "the operation takes no parameters") for name in parameters]
    return [Violation(service, operation, *found) for found in _check(shape, dict(parameters), "")]


@cache
def _model(service: str) -> ServiceModel:
    try:
        return botocore.session.Session().get_service_model(service)
    except UnknownServiceError as error:
        raise LookupError(f"botocore knows no service {service}") from error


def _operation(service: str, operation: str) -> StructureShape | None:
    try:
        shape: StructureShape | None = _model(service).operation_model(operation).input_shape
    except OperationNotFoundError as error:
        raise LookupError(f"botocore knows no operation {operation} of {service}") from error
    return shape


_Found = Iterator[tuple[str, str]]


def _check(shape: Shape, value: Any, place: str) -> _Found:
    if value is None:  # withheld
        return
    if shape.type_name == "blob" and isinstance(value, dict):
        yield from _check_size(shape, value["bytes"], "bytes", place)
        return
    expected = _PYTHON_TYPES.get(shape.type_name)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean")):
        yield place, f"must be a {shape.type_name}, not {value!r}"
        return
    if isinstance(shape, StructureShape):
        yield from _check_structure(shape, value, place)
    elif isinstance(shape, ListShape):
        yield from _check_size(shape, len(value), "items", place)
        for index, item in enumerate(value):
            yield from _check(shape.member, item, f"{place}[{index}]")
    elif isinstance(shape, MapShape):
        yield from _check_size(shape, len(value), "entries", place)
        for key, item in value.items():
            yield from _check(shape.key, key, f"{place}.{key} (key)")
            yield from _check(shape.value, item, f"{place}.{key}")
    elif isinstance(value, str):
        yield from _check_text(shape, value, place)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_size(shape, value, "", place)


def _check_structure(shape: StructureShape, value: dict[str, Any], place: str) -> _Found:
    prefix = f"{place}." if place else ""
    for name in shape.metadata.get("required", ()):
        if name not in value and not shape.members[name].metadata.get(_FILLED_BY_SDK):
            yield f"{prefix}{name}", "is required"
    for name, part in value.items():
        if name in shape.members:
            yield from _check(shape.members[name], part, f"{prefix}{name}")
        else:
            yield f"{prefix}{name}", f"is not a member of {shape.name}"


def _check_size(shape: Shape, size: float, unit: str, place: str) -> _Found:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    measured = f"{size:,} {unit}".strip()
    if least is not None and size < least:
        yield place, f"{measured} is below the least of {least:,}"
    if most is not None and size > most:
        yield place, f"{measured} is above the most of {most:,}"


def _check_text(shape: Shape, value: str, place: str) -> _Found:
    yield from _check_size(shape, len(value), "characters", place)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield place, f"{value!r} is not one of {', '.join(allowed[:12])}{', …' if len(allowed) > 12 else ''}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield place, f"{value!r} does not match {pattern}"
    yield from _check_documented(documented_rules(shape.documentation), value, place)


def _check_documented(rules: DocumentedRules, value: str, place: str) -> _Found:
    if rules.characters is not None:
        wrong = sorted({sign for sign in value if not _is_plain(sign) and sign not in rules.characters})
        if wrong:
            yield place, f"{value!r} has {' '.join(wrong)}, allowed are a-z, A-Z, 0-9, spaces and {rules.characters}"
    if rules.most is not None and len(value) > rules.most:
        yield place, f"{len(value):,} characters is above the documented most of {rules.most:,}"
    if rules.is_ascii and not value.isascii():
        yield place, f"{value!r} must be ASCII"
    if rules.forbidden_start and value.startswith(rules.forbidden_start):
        yield place, f"{value!r} must not begin with {rules.forbidden_start}"


def _is_plain(sign: str) -> bool:
    return sign == " " or (sign.isascii() and sign.isalnum())


@cache
def _compiled(pattern: str) -> Any:
    """Compile a model's pattern, which AWS writes for Java: it names signs beyond U+FFFF by surrogate pairs."""
    return regex.compile(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"))


@cache
def documented_rules(documentation: str) -> DocumentedRules:
    """Read the rules of a member from its documentation (HTML)."""
    text = regex.sub(r"\s+", " ", html.unescape(regex.sub(r"<[^>]+>", " ", documentation)))
    signs, length, start = _CHARACTERS.search(text), _LENGTH.search(text), _FORBIDDEN_START.search(text)
    return DocumentedRules(
        characters=signs["signs"] if signs else None,
        most=int(length["most"].replace(",", "")) if length else None,
        is_ascii=bool(length and (length["kind"] or "").startswith("ASCII")),
        forbidden_start=start["start"] if start else None,
    )


def recorded_violations(lines: Iterable[str]) -> list[Violation]:
    """Return the distinct violations in a record's lines, in their order; an operation that AWS does not know is one.

    Raises:
        ValueError: a line is not a request; the message has its number.
    """
    found: dict[Violation, None] = {}
    for number, line in enumerate(lines, 1):
        try:
            request = json.loads(line)
            service, operation, parameters = request["service"], request["operation"], request["parameters"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} is not a request: {error}") from error
        try:
            found |= dict.fromkeys(violations(service, operation, parameters))
        except LookupError as error:
            found[Violation(service, operation, "", f"{error}: {parameters}")] = None
    return list(found)


def counts(lines: Iterable[str]) -> Counter[str]:
    """Return how many requests of each service a record has."""
    return Counter(json.loads(line)["service"] for line in lines)


def main() -> None:
    """Print what AWS would refuse in the records; exit with 1 if there is anything."""
    parser = argparse.ArgumentParser(prog="python -m checks.aws_requests", description=__doc__)
    parser.add_argument("records", nargs="*", type=Path, metavar="RECORD")
    failed = False
    for record in parser.parse_args().records or [instances.current().request_record]:
        try:
            lines = record.read_text(encoding="utf-8").splitlines()
            found = recorded_violations(lines)
        except FileNotFoundError:
            sys.exit(f"error: there is no record {record}: run 'make up' first")
        except ValueError as error:
            sys.exit(f"error: {record}: {error}")
        by_service = ", ".join(f"{service} {number}" for service, number in sorted(counts(lines).items()))
        print(f"{record}: {len(lines):,} distinct requests ({by_service}), {len(found)} violations")
        for one in found:
            print(f"  {one}")
        failed |= bool(found)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
