"""The preference centre: a page on which a person sees and changes their own choices (docs/adr/0113).

The page holds nothing about anybody: its script asks the routes under ``/v1/me``, with the person's own token.
"""

import os

from pmp.http.messages import Request, Response

_MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def _content(name: str) -> bytes:
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "preferences", name)  # noqa: PTH118, PTH120 - in a zip
    return bytes(__loader__.get_data(path))  # type: ignore[name-defined]


def get_page(_request: Request) -> Response:
    """GET /preferences."""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }
    return Response(200, content=_content("index.html"), headers=headers)


def get_file(request: Request) -> Response:
    """GET /preferences/{file}: the page's script, style or icon; the document names the files that there are."""
    name = request.parameters["file"]
    # The files of one release belong together, so a browser asks whether it still has the right ones.
    headers = {"Content-Type": _MEDIA_TYPES[os.path.splitext(name)[1]], "Cache-Control": "no-cache"}  # noqa: PTH122
    return Response(200, content=_content(name), headers=headers)
