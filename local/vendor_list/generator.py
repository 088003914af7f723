"""Generate a Global Vendor List (TCF v3 shape) of invented vendors from a seed.

The shape: "Global Vendor List" in
https://github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

_PURPOSES = (
    "Store and/or access information on a device",
    "Use limited data to select advertising",
    "Create profiles for personalised advertising",
    "Use profiles to select personalised advertising",
    "Create profiles to personalise content",
    "Use profiles to select personalised content",
    "Measure advertising performance",
    "Measure content performance",
    "Understand audiences through statistics",
    "Develop and improve services",
    "Use limited data to select content",
)
_SPECIAL_PURPOSES = ("Ensure security, prevent and detect fraud, and fix errors", "Deliver and present advertising")
_FEATURES = ("Match and combine data", "Link different devices", "Identify devices automatically")
_SPECIAL_FEATURES = ("Use precise geolocation data", "Actively scan device characteristics")
_DATA_CATEGORIES = (
    "IP addresses", "Device characteristics", "Device identifiers", "Probabilistic identifiers",
    "Authentication-derived identifiers", "Browsing and interaction data", "User-provided data",
    "Non-precise location data", "Precise location data", "Users' profiles", "Privacy choices",
)  # fmt: skip
_WORDS = ("North", "Blue", "Signal", "River", "Data", "Pixel", "Harbor", "Cloud", "Metric", "Ocean", "Vertex", "Lumen")
_FORMS = ("GmbH", "Inc.", "Ltd", "S.A.S.", "B.V.", "AB", "LLC", "d.o.o.", "Sp. z o.o.", "株式会社")
_FILLER = (
    "Information about your activity on this service may be stored and combined with other information relating to you "
    "in support of the purposes explained in this notice. You can change your mind at any time. "
)
_PER_LIST_VERSION = timedelta(days=7)


def _catalogue(names: tuple[str, ...], *, illustrated: bool) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for identifier, name in enumerate(names, start=1):
        entry: dict[str, Any] = {"id": identifier, "name": name, "description": _FILLER * 2}
        if illustrated:
            entry["illustrations"] = [_FILLER, _FILLER] if identifier % 3 else []
        entries[str(identifier)] = entry
    return entries


def _some(source: random.Random, count: int, chance: float) -> list[int]:
    return [identifier for identifier in range(1, count + 1) if source.random() < chance]


def _vendor(source: random.Random, identifier: int) -> dict[str, Any]:
    purposes = _some(source, len(_PURPOSES), 0.55)
    never_legitimate = {1, 3, 4, 5, 6, *purposes}
    legitimate = [purpose for purpose in _some(source, len(_PURPOSES), 0.3) if purpose not in never_legitimate]
    host = f"vendor{identifier}.example"
    uses_cookies = source.random() < 0.8
    vendor: dict[str, Any] = {
        "id": identifier,
        "name": f"{source.choice(_WORDS)} {source.choice(_WORDS)} {source.choice(_FORMS)}",
        "purposes": purposes,
        "legIntPurposes": legitimate,
        "flexiblePurposes": [purpose for purpose in (*purposes, *legitimate) if purpose != 1 and source.random() < 0.3],
        "specialPurposes": _some(source, len(_SPECIAL_PURPOSES), 0.7),
        "features": _some(source, len(_FEATURES), 0.5),
        "specialFeatures": _some(source, len(_SPECIAL_FEATURES), 0.15),
        "cookieMaxAgeSeconds": source.choice((86400, 2592000, 7776000, 31536000)) if uses_cookies else None,
        "usesCookies": uses_cookies,
        "cookieRefresh": uses_cookies and source.random() < 0.5,
        "usesNonCookieAccess": source.random() < 0.6,
        "dataRetention": {"stdRetention": source.randrange(1, 1825), "purposes": {}, "specialPurposes": {}},
        "urls": [
            {
                "langId": language,
                "privacy": f"https://{host}/{language}/privacy",
                "legIntClaim": f"https://{host}/interest",
            }
            for language in source.sample(("en", "de", "fr", "pl", "sl", "es"), source.randint(1, 3))
        ],
        "deviceStorageDisclosureUrl": f"https://{host}/device-storage.json",
    }
    if source.random() < 0.98:
        vendor["dataDeclaration"] = _some(source, len(_DATA_CATEGORIES), 0.5)
    if source.random() < 0.15:
        vendor["overflow"] = {"httpGetLimit": 128}
    if source.random() < 0.04:
        vendor["deletedDate"] = "2024-01-15T00:00:00Z"
    return vendor


def generate(*, version: int = 100, vendors: int = 700, seed: int = 1) -> dict[str, Any]:
    """Return a vendor list.

    Args:
        version: ``vendorListVersion``; ``lastUpdated`` follows from it, one week per version.
        vendors: number of vendors; about half of the ids up to the highest are used, as in the real list.
        seed: the same seed gives the same list.
    """
    source = random.Random(seed)  # noqa: S311 - test data, not a secret
    identifiers = sorted(source.sample(range(1, vendors * 2 + 1), vendors))
    updated = datetime(2023, 1, 5, 16, 0, tzinfo=UTC) + version * _PER_LIST_VERSION
    return {
        "gvlSpecificationVersion": 3,
        "vendorListVersion": version,
        "tcfPolicyVersion": 5,
        "lastUpdated": updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "purposes": _catalogue(_PURPOSES, illustrated=True),
        "specialPurposes": _catalogue(_SPECIAL_PURPOSES, illustrated=True),
        "features": _catalogue(_FEATURES, illustrated=True),
        "specialFeatures": _catalogue(_SPECIAL_FEATURES, illustrated=True),
        "stacks": {
            str(identifier): {
                "id": identifier,
                "name": f"Stack {identifier}",
                "description": _FILLER,
                "purposes": _some(source, len(_PURPOSES), 0.4),
                "specialFeatures": _some(source, len(_SPECIAL_FEATURES), 0.3),
            }
            for identifier in range(1, 44)
        },
        "dataCategories": _catalogue(_DATA_CATEGORIES, illustrated=False),
        "vendors": {str(identifier): _vendor(source, identifier) for identifier in identifiers},
    }
