"""A small versioned S3 on loopback that can inject faults, and the function's secrets.

It supports only the calls that the function makes.
"""

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "pmp-local-imports"
ERASURES = "pmp-local-erasures"
KEY_ARN = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:pmp/local/erasure-key-AbCdEf"
ERASURE_KEY = bytes(range(32))
TOKEN_KEYS_ARN = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:pmp/local/token-key-AbCdEf"

Fault = Callable[["Handler", bytes], bool]
"""Called with the handler and the body of a GET. Returns True if it has answered the request itself."""


class ObjectStore(ThreadingHTTPServer):
    """The server. Tests call ``put`` and ``get``; the code under test uses HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.versions: dict[str, list[tuple[str, bytes, datetime]]] = {}
        """By key: the key is enough, because each bucket has prefixes of its own."""
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.invocations: list[bytes] = []
        """Bodies of the messages that were sent to the queue, each of which brings an invocation."""
        self.hidden: list[tuple[str, int]] = []
        """Receipt handles with the seconds for which their messages were hidden."""
        self.secrets: dict[str, object] = {
            KEY_ARN: {"key": ERASURE_KEY.hex()},
            TOKEN_KEYS_ARN: {"keys": [{"id": 1, "key": bytes(range(32, 64)).hex(), "made_at": "2026-01-01T00:00:00Z"}]},
        }
        """By ARN."""
        self.reads = 0
        self.honours_ranges = True
        self.refused: set[str] = set()
        """Beginnings of keys: AccessDenied for a PUT or DELETE of them."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def put(self, key: str, body: bytes) -> dict[str, object]:
        """Store a new version and return its S3 notification, with the key URL-encoded as S3 encodes it."""
        from urllib.parse import quote_plus

        version = uuid.uuid4().hex
        self.versions.setdefault(key, []).append((version, body, datetime.now(UTC)))
        item = {"key": quote_plus(key, safe="/"), "size": len(body), "versionId": version, "eTag": _etag(body)}
        return {"Records": [{"s3": {"bucket": {"name": BUCKET}, "object": item}}]}

    def get(self, key: str) -> bytes:
        """The newest version of an object."""
        return self.versions[key][-1][1]


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as S3, SQS and Secrets Manager do."""

    server: ObjectStore
    protocol_version = "HTTP/1.1"
    status: int
    head: dict[str, str]
    """Status and headers for the current GET."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[2]

    def _query(self) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole response; hyphens in the headers' names are written as underscores."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_refused(self) -> bool:
        if not self._key().startswith(tuple(self.server.refused)):
            return False
        self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return True

    def _list_versions(self) -> None:
        prefix = self._query().get("prefix", "")
        found = "".join(
            f"<Version><Key>{key}</Key><VersionId>{version}</VersionId><Size>{len(body)}</Size>"
            f"<ETag>{_etag(body)}</ETag><IsLatest>{str(place == len(versions)).lower()}</IsLatest></Version>"
            for key, versions in sorted(self.server.versions.items())
            if key.startswith(prefix)
            for place, (version, body, _) in enumerate(versions, 1)
        )
        self.answer(200, f"<ListVersionsResult><IsTruncated>false</IsTruncated>{found}</ListVersionsResult>".encode())

    def _list_objects(self) -> None:
        prefix = self._query().get("prefix", "")
        found = "".join(
            f"<Contents><Key>{key}</Key><LastModified>{versions[-1][2].isoformat()}</LastModified></Contents>"
            for key, versions in self.server.versions.items()
            if key.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())

    def do_GET(self) -> None:
        """GetObject, ListObjectsV2 and ListObjectVersions."""
        if {"versions", "list-type"} & self._query().keys():
            return self._list_versions() if "versions" in self._query() else self._list_objects()
        self.server.reads += 1
        versions = self.server.versions.get(self._key(), [])
        wanted = self._query().get("versionId")
        found = [v for v in versions if v[0] == wanted] if wanted else versions[-1:]
        if not found:
            code = "NoSuchVersion" if wanted else "NoSuchKey"
            return self.answer(404, f"<Error><Code>{code}</Code></Error>".encode())
        _, body, moment = found[0]
        if (match := self.headers.get("If-Match")) and match.strip('"') != _etag(body):
            return self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        self.status, self.head = 200, {"Last-Modified": format_datetime(moment, usegmt=True)}
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and self.server.honours_ranges:
            first, size = int(span[1]), len(body)
            if first >= size:
                return self.answer(416, b"<Error><Code>InvalidRange</Code></Error>")
            body, self.status = body[first:], 206
            self.head["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        if self.server.faults and self.server.faults.pop(0)(self, body):
            return None
        return self.answer(self.status, body, ETag=f'"{_etag(body)}"', **self.head)

    def do_HEAD(self) -> None:
        """HeadObject."""
        versions = self.server.versions.get(self._key(), [])
        if not versions:
            return self.answer(404)
        version, body, _ = versions[-1]
        self.send_response(200)
        for name, value in (("ETag", _etag(body)), ("x-amz-version-id", version), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        return self.end_headers()

    def do_PUT(self) -> None:
        """PutObject and UploadPart."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._is_refused():
            return None
        digest = self.headers.get("x-amz-checksum-sha256")
        if digest and base64.b64encode(hashlib.sha256(body).digest()).decode() != digest:
            return self.answer(400, b"<Error><Code>BadDigest</Code></Error>")
        query = self._query()
        if any(name not in self.headers for name in query.get("X-Amz-SignedHeaders", "host").split(";")):
            return self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if self.headers.get("If-None-Match") == "*" and self.server.versions.get(self._key()):
            return self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        if "uploadId" in query:
            if query["uploadId"] not in self.server.parts:
                return self._no_such_upload()
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
            named = {}
        else:
            self.server.put(self._key(), body)
            named = {"x_amz_version_id": self.server.versions[self._key()][-1][0]}
        return self.answer(200, b"", ETag=f'"{_etag(body)}"', **named)

    def do_POST(self) -> None:
        """S3's multipart uploads, SQS's SendMessage and ChangeMessageVisibility, and GetSecretValue."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = self._query()
        if self.headers.get("X-Amz-Target") == "secretsmanager.GetSecretValue":
            arn = json.loads(body)["SecretId"]
            known = arn in self.server.secrets
            secret = {"ARN": arn, "SecretString": json.dumps(self.server.secrets[arn])} if known else {}
            self.answer(200 if known else 400, json.dumps(secret).encode())
        elif self.headers.get("X-Amz-Target") == "AmazonSQS.SendMessage":
            text = json.loads(body)["MessageBody"].encode()
            self.server.invocations.append(text)
            digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
            self.answer(200, json.dumps({"MessageId": uuid.uuid4().hex, "MD5OfMessageBody": digest}).encode())
        elif self.headers.get("X-Amz-Target") == "AmazonSQS.SendMessageBatch":
            sent = []
            for entry in json.loads(body)["Entries"]:
                text = entry["MessageBody"].encode()
                self.server.invocations.append(text)
                digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
                sent.append({"Id": entry["Id"], "MessageId": uuid.uuid4().hex, "MD5OfMessageBody": digest})
            self.answer(200, json.dumps({"Successful": sent}).encode())
        elif self.headers.get("X-Amz-Target") == "AmazonSQS.ChangeMessageVisibility":
            request = json.loads(body)
            self.server.hidden.append((request["ReceiptHandle"], request["VisibilityTimeout"]))
            self.answer(200, b"{}")
        elif "uploads" in query:
            upload = uuid.uuid4().hex
            self.server.parts[upload] = {}
            name = "InitiateMultipartUploadResult"
            self.answer(200, f"<{name}><UploadId>{upload}</UploadId></{name}>".encode())
        elif query["uploadId"] not in self.server.parts:
            self._no_such_upload()
        else:
            named = re.findall(r"[0-9a-f]{32}", body.decode())
            parts = self.server.parts[query["uploadId"]]
            if named != [_etag(parts[number]) for number in sorted(parts)]:
                return self.answer(400, b"<Error><Code>InvalidPart</Code></Error>")
            del self.server.parts[query["uploadId"]]
            self.server.put(self._key(), b"".join(parts[number] for number in sorted(parts)))
            self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        return None

    def _no_such_upload(self) -> None:
        self.answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")

    def do_DELETE(self) -> None:
        """DeleteObject with a version, and AbortMultipartUpload."""
        if self._is_refused():
            return
        query, key = self._query(), self._key()
        self.server.parts.pop(query.get("uploadId", ""), None)
        if version := query.get("versionId"):
            left = [one for one in self.server.versions.get(key, []) if one[0] != version]
            self.server.versions.pop(key, None)
            if left:
                self.server.versions[key] = left
        self.answer(204)


def truncate(after: int) -> Fault:
    """Announce the whole body, send only the first ``after`` bytes, then close."""

    def fault(handler: Handler, body: bytes) -> bool:
        handler.send_response(handler.status)
        for name, value in handler.head.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:after])
        handler.close_connection = True
        return True

    return fault


def reset(after: int) -> Fault:
    """Send the first ``after`` bytes, then reset the connection."""

    def fault(handler: Handler, body: bytes) -> bool:
        import socket
        import struct

        truncate(after)(handler, body)
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        return True

    return fault


def stall(after: int, seconds: float) -> Fault:
    """Send the first ``after`` bytes, then nothing for ``seconds``, which must exceed the reader's timeout."""

    def fault(handler: Handler, body: bytes) -> bool:
        truncate(after)(handler, body)
        handler.wfile.flush()
        time.sleep(seconds)
        return True

    return fault


def unavailable(handler: Handler, _body: bytes) -> bool:
    """Answer 503 Slow Down."""
    handler.answer(503, b"<Error><Code>SlowDown</Code></Error>")
    return True
