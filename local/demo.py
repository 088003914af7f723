"""A user with a short history, and the link to their own preferences: ``make demo``."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from ops.api import Api
from ops.errors import UserError

EMAIL = "ada@example.com"
CATALOGUE: dict[str, dict[str, object]] = {
    "product_news": {
        "description": "News about our products, at most once a week",
        "channel": "email",
        "expires_after_days": 730,
        "translations": {
            "de": "Neuigkeiten über unsere Produkte, höchstens einmal pro Woche",
            "fr": "Des nouvelles de nos produits, au plus une fois par semaine",
        },
    },
    "event_invitations": {
        "description": "Invitations to events near you",
        "channel": "email",
        "translations": {
            "de": "Einladungen zu Veranstaltungen in Ihrer Nähe",
            "fr": "Des invitations à des événements près de chez vous",
        },
    },
    "delivery_texts": {
        "description": "A text message before each delivery",
        "channel": "sms",
        "translations": {"de": "Eine SMS vor jeder Lieferung", "fr": "Un SMS avant chaque livraison"},
    },
    "partner_offers": {
        "description": "Offers of the partners that are listed in our privacy notice, who get your address for that",
        "channel": "email",
        "expires_after_days": 365,
        "translations": {
            "de": "Angebote der Partner aus unserer Datenschutzerklärung, die dafür Ihre Adresse erhalten",
            "fr": "Des offres des partenaires cités dans notre politique de confidentialité, qui auront votre adresse",
        },
    },
}
"""By id: what ``PUT /v1/consents/{id}`` takes."""
HISTORY = (
    (200, {"product_news": True, "event_invitations": True, "partner_offers": True}, "checkout"),
    (93, {"partner_offers": False}, "preferences"),
    (12, {"delivery_texts": True}, "checkout"),
)
"""Days ago, choices, and the form on which they were made."""


def seed(api: Api) -> str:
    """Create the demo's consents, user and events, as far as they do not exist yet; return the user's id.

    Raises:
        UserError: the API cannot be reached or refuses something.
    """
    for consent, body in CATALOGUE.items():
        answer = api.ask("PUT", f"/v1/consents/{consent}", body)
        if answer.status not in {200, 201}:
            raise UserError(f"PUT /v1/consents/{consent} answered {answer.status}: {answer.body.decode()[:300]}")
    known = api.expect(200, "GET", f"/v1/users?{urlencode({'email': EMAIL})}")["items"]
    if known:
        return str(known[0]["id"])
    user = str(api.expect(201, "POST", "/v1/users", {"email": EMAIL})["id"])
    for days, choices, form in HISTORY:
        event: dict[str, object] = {
            "user": {"id": user},
            "consents": [{"id": consent, "enabled": enabled} for consent, enabled in choices.items()],
            "context": {"channel": "web", "form": form, "url": f"https://shop.example.com/{form}"},
        }
        _record(api, event, days)
    return user


def _record(api: Api, event: dict[str, object], days: int) -> None:
    instant = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    api.expect(201, "POST", "/v1/events", event | {"occurred_at": instant})


def link(api: Api, user: str) -> str:
    """Return the address of the user's preferences, with a token for a day and one to erase them for 15 minutes.

    Raises:
        UserError: the API cannot be reached or refuses something.
    """
    tokens = {
        name: api.expect(201, "POST", "/v1/tokens", {"user": {"id": user}, "purpose": purpose})["token"]
        for name, purpose in {"token": "preferences", "erase": "erase"}.items()
    }
    return f"{api.url}/preferences#{urlencode(tokens)}"
