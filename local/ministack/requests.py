"""Record every AWS request that MiniStack receives, decoded with botocore's models.

An emulator accepts what AWS refuses. The record, JSON lines ``{"service", "operation", "parameters"}`` with parameters
named as boto3 names them, lets ``checks/aws_requests.py`` hold each request against the models afterwards. It holds no
secret: a value that its model marks as sensitive is null, and one of bytes is ``{"bytes": <length>}``.

The wire formats are those of the AWS protocols (https://smithy.io/2.0/aws/protocols/index.html): ``query``, ``ec2``,
``json``, ``smithy-rpc-v2-cbor``, ``rest-json`` and ``rest-xml``.
"""

import base64
import binascii
import io
import json
import queue
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree as ET

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import RpcV2CBORParser

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

Json = Any
"""What JSON can hold."""

LONGEST_BODY = 4 * 1024**2
"""Longer bodies, in bytes, are uploads of objects: only their names matter here."""

# Services by the name that a request is signed for, where it is not the service's own name.
_SERVICES = {
    "apigateway": ("apigatewayv2", "apigateway"),
    "monitoring": ("cloudwatch",),
    "servicequotas": ("service-quotas",),
    "tagging": ("resourcegroupstaggingapi",),
}
_SIGNED_FOR = re.compile(r"[^/]+/\d{8}/[^/]+/(?P<service>[^/]+)/aws4_request")
_LABEL = re.compile(r"\{(?P<name>\w+)(?P<greedy>\+?)\}")
_RPC_PATH = re.compile(r"/service/\w+/operation/(?P<operation>\w+)$")
_MIXED_MARK = "}"  # ends the namespace in a tag of ElementTree


class RawRequest(NamedTuple):
    """An HTTP request as it came: path and query still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Request(NamedTuple):
    """A decoded request. ``operation`` is empty if no operation of the service matches."""

    service: str
    operation: str
    parameters: dict[str, Json]

    def line(self) -> str:
        """Return the request as one JSON line without its end."""
        return json.dumps(self._asdict(), ensure_ascii=False)


class Unreadable(Exception):  # noqa: N818 - a finding, not a failure of this program
    """A body is not what the operation's protocol sends."""


def decode(raw: RawRequest) -> Request | None:
    """Return the AWS request in an HTTP request; None if it is not signed, so not one for AWS's own APIs."""
    query = dict(parse_qsl(raw.query, keep_blank_values=True))
    signed = _SIGNED_FOR.search(raw.headers.get("authorization", "") or query.get("X-Amz-Credential", ""))
    if signed is None or signed["service"] == "execute-api":
        return None
    models = [model for name in _SERVICES.get(signed["service"], (signed["service"],)) if (model := _model(name))]
    for model in models:
        try:
            if found := _decode(model, raw, query):
                return found
        except Unreadable as error:
            return Request(model.service_name, "", {"method": raw.method, "path": raw.path, "unreadable": str(error)})
    name = models[0].service_name if models else signed["service"]
    return Request(name, "", {"method": raw.method, "path": raw.path, "target": raw.headers.get("x-amz-target")})


@cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


@cache
def _model(service: str) -> ServiceModel | None:
    try:
        return _session().get_service_model(service)
    except UnknownServiceError:
        return None


def _operation(model: ServiceModel, name: str) -> OperationModel | None:
    return model.operation_model(name) if name in model.operation_names else None


def _decode(model: ServiceModel, raw: RawRequest, query: Mapping[str, str]) -> Request | None:
    protocols = model.metadata.get("protocols") or [model.metadata["protocol"]]
    if any(one.startswith("rest-") for one in protocols):
        return _decode_rest(model, raw, query)
    if match := _RPC_PATH.search(raw.path):
        found, read = _operation(model, match["operation"]), _from_cbor
    elif target := raw.headers.get("x-amz-target"):
        found, read = _operation(model, target.rpartition(".")[2]), _from_json
    else:
        form = dict(parse_qsl(raw.body.decode(errors="replace"), keep_blank_values=True)) or dict(query)
        found = _operation(model, form.get("Action", ""))
        return Request(model.service_name, found.name, _from_form(found, form)) if found else None
    if found is None:
        return None
    shape = found.input_shape
    return Request(model.service_name, found.name, _from_document(shape, read(raw.body)) if shape else {})


# -- values ------------------------------------------------------------------------------------------------------------


def _is_withheld(shape: Shape) -> bool:
    return bool(shape.metadata.get("sensitive"))


def _scalar(shape: Shape, text: str) -> Json:
    """Return the value that a text stands for; the text itself if it is none of its type, for the check to see."""
    if shape.type_name == "blob":
        try:
            return {"bytes": len(base64.b64decode(text, validate=True))}
        except binascii.Error:
            return {"bytes": len(text)}
    if shape.type_name == "boolean" and text in {"true", "false"}:
        return text == "true"
    if shape.type_name in {"integer", "long", "float", "double"}:
        try:
            return int(text) if shape.type_name in {"integer", "long"} else float(text)
        except ValueError:
            return text
    return text


def _from_document(shape: Shape, value: Json) -> Json:
    """Return a value of a JSON or CBOR document with boto3's names; members unknown to the model keep theirs."""
    if _is_withheld(shape):
        return None
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        return {
            names.get(key, key): _from_document(shape.members[names[key]], part) if key in names else part
            for key, part in value.items()
            if part is not None
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_from_document(shape.member, part) for part in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _from_document(shape.value, part) for key, part in value.items()}
    if isinstance(value, bytes) or (shape.type_name == "blob" and isinstance(value, str)):
        return {"bytes": len(value)} if isinstance(value, bytes) else _scalar(shape, value)
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


def _from_json(body: bytes) -> Json:
    try:
        return json.loads(body or b"{}")
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from error


def _from_cbor(body: bytes) -> Json:
    parser = RpcV2CBORParser()
    try:
        return parser.parse_data_item(io.BufferedReader(io.BytesIO(body))) if body else {}
    except Exception as error:
        raise Unreadable(f"not CBOR: {type(error).__name__}") from error


# -- query and ec2 -----------------------------------------------------------------------------------------------------


class _Form:
    """The fields of a form, and which of them a member of the model stands for."""

    def __init__(self, fields: Mapping[str, str], *, is_ec2: bool) -> None:
        self.fields, self.read, self._is_ec2 = fields, set[str](), is_ec2

    def name(self, shape: Shape, default: str) -> str:
        names = shape.serialization
        if not self._is_ec2:
            return str(names.get("name", default))
        found = str(names.get("queryName") or names.get("name") or default)
        return found if "queryName" in names else found[:1].upper() + found[1:]

    def holds(self, prefix: str) -> bool:
        return any(key == prefix or key.startswith(f"{prefix}.") for key in self.fields)

    def value(self, shape: Shape, prefix: str) -> Json:
        found: Json
        if isinstance(shape, StructureShape):
            found = {
                name: self.value(member, at)
                for name, member in shape.members.items()
                if self.holds(at := self._at(prefix, self.name(member, name))) or self._is_renamed(member, at)
            }
        elif isinstance(shape, ListShape):
            found = [self.value(shape.member, at) for at in self._items(self._list_prefix(shape, prefix))]
        elif isinstance(shape, MapShape):
            found = self._map(shape, prefix)
        else:
            found = _scalar(shape, self.fields.get(prefix, ""))
        self.read.add(prefix)
        return None if _is_withheld(shape) else found

    @staticmethod
    def _at(prefix: str, name: str) -> str:
        return f"{prefix}.{name}" if prefix else name

    def _is_renamed(self, shape: Shape, prefix: str) -> bool:
        """Whether the items of a flattened list are there, which may be named unlike the list."""
        return isinstance(shape, ListShape) and self.holds(self._list_prefix(shape, prefix))

    def _list_prefix(self, shape: ListShape, prefix: str) -> str:
        if self._is_ec2:
            return prefix
        name = shape.member.serialization.get("name")
        if shape.serialization.get("flattened"):
            return ".".join([*prefix.split(".")[:-1], name]) if name else prefix
        return f"{prefix}.{name or 'member'}"

    def _items(self, prefix: str) -> Iterator[str]:
        """Yield the prefix of each numbered item, in their order."""
        start = f"{prefix}."
        numbers = {key.removeprefix(start).partition(".")[0] for key in self.fields if key.startswith(start)}
        yield from (f"{start}{number}" for number in sorted(filter(str.isdecimal, numbers), key=int))

    def _map(self, shape: MapShape, prefix: str) -> dict[str, Json]:
        found = {}
        for item in self._items(prefix if shape.serialization.get("flattened") else f"{prefix}.entry"):
            key, value = (
                f"{item}.{self.name(part, name)}" for part, name in ((shape.key, "key"), (shape.value, "value"))
            )
            found[str(self.value(shape.key, key))] = self.value(shape.value, value)
        return found


def _from_form(operation: OperationModel, fields: Mapping[str, str]) -> dict[str, Json]:
    own = {
        name: value
        for name, value in fields.items()
        if name not in {"Action", "Version"} and not name.startswith("X-Amz-")
    }
    form = _Form(own, is_ec2=operation.service_model.metadata["protocol"] == "ec2")
    found: dict[str, Json] = form.value(operation.input_shape, "") if operation.input_shape else {}
    return found | {name: value for name, value in own.items() if name not in form.read}


# -- rest-json and rest-xml --------------------------------------------------------------------------------------------


class _Route(NamedTuple):
    operation: OperationModel
    pattern: re.Pattern[str]
    query: dict[str, str]
    """Fixed parts of the query, such as ``policy`` of ``PUT /bucket?policy``."""

    def specificity(self, raw: RawRequest, query: Mapping[str, str]) -> int:
        """Return how much of a request only this operation asks for; -1 if it is another's."""
        if not self.pattern.fullmatch(raw.path.rstrip("/") or "/") or self.query.items() - query.items():
            return -1
        shape = self.operation.input_shape
        required = [shape.members[name] for name in shape.metadata.get("required", ())] if shape else []
        asked = 0
        for member in required:
            location, name = member.serialization.get("location"), str(member.serialization.get("name", ""))
            if location in {"querystring", "header"}:
                asked += 1
                if name not in query and name.lower() not in raw.headers:
                    return -1
        # A path without labels is more specific than one with them.
        return 1 + 10 * len(self.query) + asked + (0 if self.pattern.groups else 100)


@cache
def _routes(service: str, method: str) -> tuple[_Route, ...]:
    model = _model(service)
    assert model is not None  # noqa: S101 - it was just found
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        # PutBucketLifecycle has the path of the operation that replaced it, PutBucketLifecycleConfiguration.
        if operation.http["method"] == method and not operation.deprecated:
            found.append(_Route(operation, _pattern(path), dict(parse_qsl(query, keep_blank_values=True))))
    return tuple(found)


def _pattern(path: str) -> re.Pattern[str]:
    """Return the pattern of a path such as ``/{Bucket}/{Key+}``, which matches it as it is percent-encoded."""
    parts, end = [], 0
    for label in _LABEL.finditer(path):
        parts += [re.escape(path[end : label.start()]), f"(?P<{label['name']}>{'.+' if label['greedy'] else '[^/]+'})"]
        end = label.end()
    return re.compile("".join([*parts, re.escape(path[end:])]).rstrip("/") or "/")


def _decode_rest(model: ServiceModel, raw: RawRequest, query: Mapping[str, str]) -> Request | None:
    routes = _routes(model.service_name, raw.method)
    best = max(routes, key=lambda route: route.specificity(raw, query), default=None)
    if best is None or best.specificity(raw, query) < 0:
        return None
    match = best.pattern.fullmatch(raw.path.rstrip("/") or "/")
    labels = {name: unquote(value) for name, value in match.groupdict().items()} if match else {}
    shape = best.operation.input_shape
    found = _from_rest(model, shape, raw, labels) if shape else {}
    return Request(model.service_name, best.operation.name, found)


def _from_rest(
    model: ServiceModel, shape: StructureShape, raw: RawRequest, labels: Mapping[str, str]
) -> dict[str, Json]:
    found: dict[str, Json] = {}
    payload = shape.serialization.get("payload")
    pairs = parse_qsl(raw.query, keep_blank_values=True)
    for name, member in shape.members.items():
        location, key = member.serialization.get("location"), str(member.serialization.get("name", name))
        if location == "uri" and key in labels:
            found[name] = _located(member, [labels[key]])
        elif location == "querystring" and (values := [value for one, value in pairs if one == key]):
            found[name] = _located(member, values)
        elif location == "header" and key.lower() in raw.headers:
            found[name] = _located(member, [raw.headers[key.lower()]])
        elif location == "headers":
            start = key.lower()
            own = {one.removeprefix(start): value for one, value in raw.headers.items() if one.startswith(start)}
            found |= {name: None if _is_withheld(member) else own} if own else {}
    if payload:
        member = shape.members[payload]
        if isinstance(member, StructureShape):
            found |= {payload: _from_body(model, member, raw.body)} if raw.body.strip() else {}
        elif raw.body:
            is_text = member.type_name == "string" and not _is_withheld(member)
            found[payload] = raw.body.decode(errors="replace") if is_text else {"bytes": len(raw.body)}
        return found
    in_body = any("location" not in member.serialization for member in shape.members.values())
    return found | (_from_body(model, shape, raw.body) if in_body and raw.body.strip() else {})


def _located(shape: Shape, texts: list[str]) -> Json:
    """Return a value from a path, a query or a header."""
    if _is_withheld(shape):
        return None
    if isinstance(shape, ListShape):
        return [_scalar(shape.member, text) for text in texts]
    if shape.serialization.get("jsonvalue") or isinstance(shape, MapShape):
        return {}
    return _scalar(shape, texts[0])


def _from_body(model: ServiceModel, shape: StructureShape, body: bytes) -> Json:
    if "rest-json" in (model.metadata.get("protocols") or [model.metadata["protocol"]]):
        return _from_document(shape, _from_json(body))
    try:
        # The sender is a tool of this machine, and expat (2.6 and later) limits the growth of entities.
        return _from_xml(shape, ET.fromstring(body))  # noqa: S314
    except ET.ParseError as error:
        raise Unreadable(f"not XML: {error}") from error


def _from_xml(shape: Shape, node: ET.Element) -> Json:
    if _is_withheld(shape):
        return None
    if isinstance(shape, StructureShape):
        return _members_from_xml(shape, node)
    if isinstance(shape, ListShape):
        return [_from_xml(shape.member, child) for child in node]
    if isinstance(shape, MapShape):
        names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        pairs = [{_tag(part): part for part in entry} for entry in node]
        return {pair[names[0]].text or "": _from_xml(shape.value, pair[names[1]]) for pair in pairs}
    return _scalar(shape, node.text or "")


def _members_from_xml(shape: StructureShape, node: ET.Element) -> dict[str, Json]:
    found: dict[str, Json] = {}
    children: dict[str, list[ET.Element]] = {}
    for child in node:
        children.setdefault(_tag(child), []).append(child)
    attributes = {name.rpartition(_MIXED_MARK)[2]: value for name, value in node.attrib.items()}
    for name, member in shape.members.items():
        key = str(member.serialization.get("name", name))
        if member.serialization.get("location"):
            continue
        if member.serialization.get("xmlAttribute"):
            # Its name has the prefix of a namespace: xsi:type.
            if (attribute := key.rpartition(":")[2]) in attributes:
                found[name] = attributes[attribute]
        elif isinstance(member, ListShape) and member.serialization.get("flattened"):
            tag = str(member.member.serialization.get("name", key))
            if items := children.pop(tag, None) or children.pop(key, None):
                found[name] = [_from_xml(member.member, item) for item in items]
        elif items := children.pop(key, None):
            found[name] = _from_xml(member, items[0])
    return found | {tag: items[0].text or "" for tag, items in children.items()}


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition(_MIXED_MARK)[2]


# -- the record --------------------------------------------------------------------------------------------------------


def _is_signed(scope: Scope) -> bool:
    return b"X-Amz-Credential" in scope["query_string"] or any(
        name.lower() == b"authorization" and value.startswith(b"AWS4-") for name, value in scope["headers"]
    )


class Record:
    """A file with each distinct request once, written by a thread of its own: requests never wait for it.

    Args:
        path: of the file; lines are added to it.
        application: the ASGI application that answers the requests.
    """

    def __init__(self, path: Path, application: Application) -> None:
        self._path, self._application = path, application
        self._raw: queue.SimpleQueue[RawRequest | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="requests", daemon=True)
        self._thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and note it if it is signed."""
        if scope["type"] != "http" or not _is_signed(scope):
            await self._application(scope, receive, send)
            return
        chunks: list[bytes] = []
        size = 0

        async def overhear() -> MutableMapping[str, Any]:
            nonlocal size
            message = await receive()
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= LONGEST_BODY:
                chunks.append(chunk)
            else:
                chunks.clear()
            return message

        try:
            await self._application(scope, overhear, send)
        finally:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            path = scope["raw_path"].decode("latin-1").partition("?")[0]
            query = scope["query_string"].decode("latin-1")
            self._raw.put(RawRequest(scope["method"], path, query, headers, b"".join(chunks)))

    def close(self) -> None:
        """Write what was noted, and end."""
        self._raw.put(None)
        self._thread.join(timeout=10)

    def _write(self) -> None:
        seen: set[int] = set()
        with self._path.open("a", buffering=1, encoding="utf-8") as stream:
            while raw := self._raw.get():
                try:
                    found = decode(raw)
                except Exception as error:  # noqa: BLE001 - what breaks the decoding must not be missing in the record
                    found = Request("", "", {"method": raw.method, "path": raw.path, "error": repr(error)})
                line = found.line() if found else ""
                if line and hash(line) not in seen:
                    seen.add(hash(line))
                    stream.write(f"{line}\n")
