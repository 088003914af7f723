"""Validation of a request by the document: path, query, headers and body. Fills in what the routes read."""

import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from pmp.http.document import Operation
from pmp.http.messages import Request
from pmp.http.problems import Problem, invalid
from pmp.schema import Errors
from pmp.specification import SCHEMAS

_MOST_DIGITS = 1000
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def validate(operation: Operation, request: Request) -> None:
    """Check the request; sets its ``query``, ``body`` and ``idempotency_key``.

    Raises:
        Problem: 404 for a path parameter that cannot exist, 400 for a body or query that cannot be read, 415 for a body
            of another type or coding, 422 with all other errors at once.
    """
    _check_path(operation, request)
    errors = [*_read_query(operation, request), *_header_errors(operation, request)]
    if operation.body is not None and not request.raw_body:
        errors.append(
            {
                "pointer": "",
                "detail": f"is missing; send {'a form' if _FORMS & set(operation.media) else 'a JSON object'}",
            }
        )
    elif operation.body is not None:
        request.body = _body(operation.body, _check_media(operation, request), request)
        errors.extend(SCHEMAS.errors(request.body, operation.body))
    if errors:
        raise invalid(errors)


def _body(schema: dict[str, Any], media: str, request: Request) -> Any:
    if media not in _FORMS:
        return parse_json(request.raw_body)
    from pmp.http import forms

    return forms.read(request.headers["content-type"], request.raw_body, SCHEMAS.resolve(schema)["properties"])


def _check_media(operation: Operation, request: Request) -> str:
    """The body's type; 415 if it is not one of the operation's, or has a coding."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in operation.media:
        found, wanted = media or "missing", " or ".join(operation.media)
        raise Problem(415, "unsupported-media-type", f"Content-Type must be {wanted}; it is {found[:100]}")
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        detail = f"Content-Encoding {coding[:100]} is not supported; send the body without a coding"
        raise Problem(415, "unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    return media


def _check_path(operation: Operation, request: Request) -> None:
    for parameter in operation.parameters:
        if parameter["in"] != "path":
            continue
        text = request.parameters[parameter["name"]]
        if SCHEMAS.errors(_convert(text, parameter["schema"]), parameter["schema"]):
            detail = f"there is no resource at {request.path[:200]}: not a valid {parameter['name']}"
            raise Problem(404, "not-found", detail)


def _read_query(operation: Operation, request: Request) -> Errors:
    errors: Errors = []
    known = {parameter["name"]: parameter for parameter in operation.parameters if parameter["in"] == "query"}
    for name, text in parse_query(request.raw_query):
        if name not in known:
            listed = ", ".join(known) or "none"
            errors.append({"parameter": name[:100], "detail": f"is not a known parameter; known parameters: {listed}"})
        elif name in request.query:
            errors.append({"parameter": name, "detail": "appears more than once"})
        else:
            value = request.query[name] = _convert(text, known[name]["schema"])
            found = SCHEMAS.errors(value, known[name]["schema"])
            hint = "; a '+' in a query means a space: encode it as %2B" if " " in text else ""
            errors.extend({"parameter": name, "detail": error["detail"] + hint} for error in found)
    return errors


def _header_errors(operation: Operation, request: Request) -> Errors:
    errors: Errors = []
    for parameter in operation.parameters:
        if parameter["in"] == "header" and (value := request.headers.get(parameter["name"].lower())) is not None:
            if parameter["name"] == "Idempotency-Key":
                request.idempotency_key = value
            found = SCHEMAS.errors(value, parameter["schema"])
            errors.extend({"header": parameter["name"], "detail": error["detail"]} for error in found)
    return errors


def _convert(text: str, schema: dict[str, Any]) -> Any:
    kind = SCHEMAS.resolve(schema).get("type")
    if kind == "integer":
        try:
            # Python also reads 1_000, spaces and the digits of other scripts.
            return int(text) if len(text) < 20 and text.isascii() and text.lstrip("-").isdigit() else text
        except ValueError:
            return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def parse_query(raw: str) -> list[tuple[str, str]]:
    """The parameters of the query in their order.

    Raises:
        Problem: 400 if it is not percent-encoded UTF-8.
    """
    try:
        return parse_qsl(raw, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=50)
    except ValueError:
        detail = "the query must be percent-encoded UTF-8 and have at most 50 fields"
        raise Problem(400, "malformed", detail) from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for duplicate, _ in pairs:
            if duplicate in seen:
                break
            seen.add(duplicate)
        raise ValueError(f"the key {duplicate[:100]!r} appears more than once in an object")
    return document


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(text)


def _number(text: str) -> float | int:
    value = float(text)
    # JSON does not distinguish 1 from 1.0.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def parse_json(content: bytes) -> Any:
    """Strict JSON: UTF-8, no duplicate keys, no NaN.

    Raises:
        Problem: 400.
    """
    if content.startswith(_BYTE_ORDER_MARK):
        detail = "it starts with a byte order mark (BOM); send UTF-8 without one"
        raise Problem(400, "malformed", f"the body is not valid JSON: {detail}")
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_number,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start}"
    except RecursionError:
        detail = "nested too deeply"
    except ValueError as error:
        detail = str(error)
    raise Problem(400, "malformed", f"the body is not valid JSON: {detail}")
