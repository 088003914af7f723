"""One-click unsubscription (RFC 8058): a mail's ``List-Unsubscribe`` leads here, and asks for no login."""

import html
from base64 import b64encode
from hashlib import sha256
from typing import Any

from pmp import identifiers, person_tokens
from pmp.http.erasure_key import with_key
from pmp.http.messages import Request, Response

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}button{font:inherit}"
)
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
_BUTTON = """<p>You will not be asked anything else.</p>
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">
<button type="submit">Unsubscribe</button></form>"""


def get_page(request: Request, connection: Any) -> Response:
    """GET /v1/unsubscribe/{token}: what the link is about, and a button. It changes nothing: scanners follow links."""
    person = _person(request)
    if isinstance(person, Response):
        return person
    ((found,),) = connection.run(
        "SELECT pmp.get_me(:user, string_to_array(:consents, ','))",
        user=person.user,
        consents=",".join(person.consents),
    )
    if found is None or "erased" in found:
        return _missing(is_gone=found is not None)
    items = "".join(f"<li>{html.escape(consent['description'])}</li>" for consent in found["consents"])
    if not items:
        return _page(200, "You are unsubscribed", "<p>What this link was about does not exist any more.</p>")
    return _page(200, "Unsubscribe?", f"<p>This link ends:</p>\n<ul>{items}</ul>\n{_BUTTON}")


def unsubscribe(request: Request, connection: Any) -> Response:
    """POST /v1/unsubscribe/{token}: one statement, which finds nothing left to deny when it is repeated."""
    person = _person(request)
    if isinstance(person, Response):
        return person
    request.identifiers = request.identifiers or [identifiers.new()]
    ((found,),) = connection.run(
        "SELECT pmp.unsubscribe(:id, :user, string_to_array(:consents, ','), :client)",
        id=request.identifiers[0],
        user=person.user,
        consents=",".join(person.consents),
        client=person.client,
    )
    if found["outcome"] in {"unknown_user", "erased"}:
        return _missing(is_gone=found["outcome"] == "erased")
    return _page(200, "You are unsubscribed", "<p>You can close this page.</p>")


def _person(request: Request) -> person_tokens.Person | Response:
    """Whom the link is about, or the page that says why it cannot be used."""
    try:
        person = with_key(lambda: person_tokens.read(request.parameters["token"]), "users' own tokens")
    except person_tokens.ExpiredTokenError:
        text = "<p>This link has expired. Use the link of a newer message, or write to its sender.</p>"
        return _page(410, "The link has expired", text)
    except person_tokens.InvalidTokenError:
        return _missing(is_gone=False)
    return person if person.purpose == "unsubscribe" else _missing(is_gone=False)


def _missing(*, is_gone: bool) -> Response:
    if is_gone:
        return _page(410, "There is nothing left", "<p>All data about you was erased, so you get no more messages.</p>")
    text = "<p>Copy the whole link from the message, or write to its sender.</p>"
    return _page(404, "The link is not complete", text)


def _page(status: int, title: str, content: str) -> Response:
    document = _PAGE.format(title=title, style=_STYLE, content=content)
    return Response(status, headers=dict(_HEADERS), content=document.encode())
