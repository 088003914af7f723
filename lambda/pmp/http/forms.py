"""Bodies of HTML forms, of which one-click unsubscription has one (RFC 8058)."""

from collections.abc import Collection
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from pmp.http.problems import Problem


def read(content_type: str, body: bytes, known: Collection[str]) -> dict[str, str]:
    """The fields of a form, of those that are known; of equal names the first.

    Args:
        content_type: ``application/x-www-form-urlencoded``, or ``multipart/form-data`` (RFC 7578) with its boundary.
        body: of the request.
        known: names of fields. Others are ignored: mail providers send the form, and may add to it.

    Raises:
        Problem: 400 if it cannot be read.
    """
    try:
        is_multipart = content_type.lower().startswith("multipart/form-data")
        pairs = _parts(content_type, body) if is_multipart else parse_qsl(body.decode(), max_num_fields=50)
    except (ValueError, LookupError):
        raise Problem(400, "malformed", "the body is not a form of the type that Content-Type names") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in known:
            fields.setdefault(name, value)
    return fields


def _parts(content_type: str, body: bytes) -> list[tuple[str, str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise ValueError("no parts")
    fields = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        fields.append((str(name), content.decode() if isinstance(content, bytes) else ""))
    return fields
