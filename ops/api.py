"""A client of PMP's own API: a base URL, a bearer token, and errors that quote the problem document."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import http
from ops.errors import UserError


@dataclass(frozen=True)
class Api:
    """The API of one environment.

    Attributes:
        url: base URL without a trailing slash.
        token: bearer token.
        authority: PEM file of the certificate authority to trust; by default the system's.
    """

    url: str
    token: str
    authority: Path | None = None

    def ask(self, method: str, path: str, document: object = None, *, anonymous: bool = False) -> http.Answer:
        """Send one request; ``document`` is sent as JSON.

        Raises:
            UserError: the API cannot be reached.
        """
        headers = {} if anonymous else {"Authorization": f"Bearer {self.token}"}
        body = None
        if document is not None:
            headers |= {"Content-Type": "application/json"}
            body = json.dumps(document).encode()
        return http.request(method, self.url + path, headers=headers, body=body, authority=self.authority)

    def expect(self, status: int, method: str, path: str, document: object = None) -> Any:
        """Send one request, require ``status``, and return the response's JSON, or None if its body is empty.

        Raises:
            UserError: the API answered with another status; the message quotes the problem document.
        """
        answer = self.ask(method, path, document)
        if answer.status != status:
            said = answer.body.decode(errors="replace")[:300]
            raise UserError(f"{method} {self.url}{path} answered {answer.status} instead of {status}: {said}")
        return answer.json() if answer.body else None
