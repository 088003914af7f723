"""The service itself: health, readiness, the API's document and the page that shows it."""

import os

from pmp.configuration import configuration
from pmp.http import document
from pmp.http.messages import Request, Response
from pmp.http.problems import not_found

_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}

# Only this host's scripts may run. Swagger UI sets style attributes, draws icons from data: URLs, and fetches tokens
# from the issuer.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PMP: the API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; <a href="/v1/openapi.json">the document itself</a> does not.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


def get_health(_request: Request) -> Response:
    """GET /v1/health: the release that runs; asks no other service."""
    settings = configuration()
    state = {
        "status": "ok",
        "environment": settings.environment,
        "release": settings.release,
        "code_sha256": settings.code_sha256,
        # Lambda's own variable. Two versions serve while a release is watched (ops/canary.py).
        "function_version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    }
    return Response(200, state)


def get_readiness(_request: Request) -> Response:
    """GET /v1/ready: the database, the vendor list's age, and the runtime's boto3; 503 without a database."""
    from pmp import database, logging, objects, vendors

    # Not a route with a connection: whether there is one is the question.
    try:
        freshness = database.with_connection(vendors.freshness)
        checks = {"database": "ok", "vendor_list": freshness, "boto3": objects.boto3_state()}
        return Response(200, {"status": "ready", "checks": checks})
    except (database.DatabaseError, database.InterfaceError, OSError) as error:
        logging.log("database unavailable", level="error", error=error)
        checks = {"database": "unreachable", "vendor_list": "unknown", "boto3": objects.boto3_state()}
        state = {"status": "not_ready", "checks": checks}
        return Response(503, state, {"Retry-After": "5"})


def get_openapi(_request: Request) -> Response:
    """GET /v1/openapi.json: the document that requests are validated by, with this deployment's addresses."""
    settings = configuration()
    content = document.served(settings.api_url, settings.token_url)
    headers = {"Cache-Control": "public, max-age=300", "Content-Type": "application/json"}
    return Response(200, content=content, headers=headers, compress=True)


def get_docs(_request: Request) -> Response:
    """GET /docs: a page that shows the document and sends requests from the browser."""
    issuer = "/".join(configuration().token_url.split("/")[:3])
    policy = _CONTENT_SECURITY_POLICY.format(issuer)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
    return Response(200, content=_PAGE.encode(), headers=headers)


def get_docs_file(request: Request) -> Response:
    """GET /docs/{file}: a file of Swagger UI, packed by ``lambda/build.py``, or the script that starts it."""
    name = request.parameters["file"]
    if name == "start.js":
        content = _START.encode()
    else:
        path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "viewer", name)  # noqa: PTH118, PTH120 - in a zip
        try:
            content = bytes(__loader__.get_data(path))  # type: ignore[name-defined]
        except OSError:
            # Only a zip built by lambda/build.py contains the viewer; the sources do not.
            raise not_found(f"file {name} in this build") from None
    headers = {"Content-Type": _MEDIA_TYPES[os.path.splitext(name)[1]], "Cache-Control": "public, max-age=3600"}  # noqa: PTH122
    return Response(200, content=content, headers=headers, compress=not name.endswith(".png"))
