"""The terms of a consent: its model, legal basis, translations and values, and when it has to be given again."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, choose

BASIC: dict[str, Any] = {"description": "x", "channel": "web"}
DEFAULTS: dict[str, Any] = {
    "model": "opt_in",
    "models_by_country": {},
    "legal_basis": "consent",
    "translations": {},
    "requires_new_consent": False,
    "opt_out_signals": [],
    "values": None,
    "multiple": False,
}
TERMS: dict[str, Any] = {
    "model": "opt_out",
    "models_by_country": {"DE": "opt_in", "US-CA": "opt_out"},
    "legal_basis": "contract",
    "translations": {"de": "Ja?", "fr-CH": "Oui ?"},
    "requires_new_consent": True,
    "opt_out_signals": ["gpc"],
    "values": [{"id": "daily", "description": "Every day"}, {"id": "weekly", "description": "Every week"}],
    "multiple": True,
}


@pytest.fixture
def new_consent(api: Gateway) -> Callable[..., str]:
    """Return a function that adds a consent with terms and returns its id."""

    def put(**terms: Any) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        answer = api.put(f"/v1/consents/{name}", BASIC | terms)
        assert answer.status == 201, answer.content
        return name

    return put


def checked(api: Gateway, user: str, consent: str, moment: str | None = None, **more: str) -> tuple[bool, str, str]:
    body: dict[str, Any] = {"checks": [{"user": {"id": user}, "consent": consent, **more}]}
    (result,) = api.post("/v1/check", body | ({"as_of": moment} if moment else {})).json["results"]
    return result["allowed"], result["reason"], result["model"]


def shown(api: Gateway, user: str) -> list[dict[str, Any]]:
    choices: list[dict[str, Any]] = api.get(f"/v1/users/{user}").json["consents"]
    return choices


def test_terms_have_defaults_and_each_change_of_one_is_a_version(api: Gateway, new_consent: Callable[..., str]) -> None:
    path = f"/v1/consents/{new_consent()}"
    read = api.get(path).json
    assert {name: read[name] for name in DEFAULTS} == DEFAULTS
    assert api.put(path, BASIC | DEFAULTS).json == read, "told defaults change nothing"
    terms: dict[str, Any] = {}
    # In this order, each prefix is valid.
    for version, name in enumerate(["values", *(name for name in TERMS if name not in {"values", "legal_basis"})], 2):
        terms[name] = TERMS[name]
        changed = api.put(path, BASIC | terms)
        assert (changed.status, changed.json["version"], changed.json[name]) == (200, version, TERMS[name])
        assert api.put(path, BASIC | terms).json == changed.json
        assert api.put(path, changed.json).json == changed.json, "as it was read"
    assert api.get(path).json["legal_basis"] == "legitimate_interests", "of opt_out"
    assert api.put(path, BASIC | TERMS).json["legal_basis"] == "contract"


@pytest.mark.parametrize(
    ("terms", "pointer", "detail"),
    [
        ({"model": "silence"}, "/model", "must be one of"),
        ({"model": "opt_out", "legal_basis": "consent"}, "/legal_basis", "must not be consent with the model opt_out"),
        ({"legal_basis": "contract"}, "/legal_basis", "must be consent with the model opt_in"),
        ({"model": "legitimate_interest", "legal_basis": "contract"}, "/legal_basis", "must be legitimate_interests"),
        ({"legal_basis": "profit"}, "/legal_basis", "must be one of"),
        ({"models_by_country": {"Germany": "opt_in"}}, "/models_by_country/Germany", "ISO 3166"),
        ({"models_by_country": {"DE": "maybe"}}, "/models_by_country/DE", "must be one of"),
        ({"models_by_country": []}, "/models_by_country", "must be an object"),
        ({"translations": {"deutsch-": "Ja"}}, "/translations/deutsch-", "BCP 47"),
        ({"translations": {"de": " "}}, "/translations/de", "must not be blank"),
        ({"translations": {"de": "x" * 2001}}, "/translations/de", "at most 2000"),
        ({"translations": {"de": "a", "DE": "b"}}, "/translations/DE", "in another case"),
        (
            {"translations": {f"x-{number}": "a" for number in range(101)}},
            "/translations",
            "at most 100 members",
        ),
        ({"requires_new_consent": None}, "/requires_new_consent", "must be true or false"),
        ({"opt_out_signals": ["dnt"]}, "/opt_out_signals/0", "must be one of gpc"),
        ({"opt_out_signals": ["gpc", "gpc"]}, "/opt_out_signals", "at most 1"),
        ({"values": []}, "/values", "at least 1"),
        ({"values": [{"id": "Daily", "description": "x"}]}, "/values/0/id", "must match"),
        ({"values": [{"id": "a", "description": "x"}] * 2}, "/values/1/id", "more than once"),
        ({"values": [{"id": f"v{n}", "description": "x"} for n in range(51)]}, "/values", "at most 50"),
        ({"multiple": True}, "/multiple", "add values"),
    ],
)
def test_invalid_terms_are_refused(api: Gateway, terms: dict[str, Any], pointer: str, detail: str) -> None:
    path = f"/v1/consents/t{uuid.uuid4().hex[:12]}"
    refused = api.put(path, BASIC | terms)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, pointer)
    assert detail in refused.json["errors"][0]["detail"]
    assert api.get(path).status == 404


@pytest.mark.parametrize("model", ["opt_in", "opt_out", "legitimate_interest"])
def test_model_decides_what_silence_means(
    api: Gateway, new_consent: Callable[..., str], new_user: Callable[[], str], model: str
) -> None:
    consent, user, gone = new_consent(model=model, expires_after_days=1), new_user(), new_user()
    silence = model != "opt_in"
    assert checked(api, user, consent) == (silence, "not_given", model)
    assert shown(api, user) == [], "nobody's choice is invented"
    for choice in ("true", "false"):
        assert api.get(f"/v1/users?consent={consent}&enabled={choice}").json["items"] == []
    choose(api, user, {consent: True}, occurred_at="2026-01-01T00:00:00.5Z")
    assert checked(api, user, consent) == (silence, "expired", model)
    assert checked(api, user, consent, "2026-01-01T12:00:00Z") == (True, "given", model)
    choose(api, user, {consent: False}, occurred_at="2026-01-03T00:00:00.5Z")
    assert checked(api, user, consent) == (False, "denied", model)
    assert checked(api, user, consent, "2026-01-02T12:00:00Z") == (silence, "expired", model)
    choose(api, user, {consent: True})
    assert checked(api, user, consent) == (True, "given", model)
    # Whom we do not know cannot have objected to us.
    assert checked(api, str(uuid.uuid4()), consent) == (False, "unknown_user", model)
    api.delete(f"/v1/users/{gone}")
    assert checked(api, gone, consent) == (False, "erased", model)


def test_most_specific_country_decides(
    api: Gateway, new_consent: Callable[..., str], new_user: Callable[[], str]
) -> None:
    consent = new_consent(models_by_country={"US": "opt_out", "US-VT": "opt_in", "GB": "legitimate_interest"})
    user = new_user()
    assert checked(api, user, consent) == (False, "not_given", "opt_in")
    assert checked(api, user, consent, country="DE") == (False, "not_given", "opt_in")
    assert checked(api, user, consent, country="US") == (True, "not_given", "opt_out")
    assert checked(api, user, consent, country="US-CA") == (True, "not_given", "opt_out")
    assert checked(api, user, consent, country="US-VT") == (False, "not_given", "opt_in")
    assert checked(api, user, consent, country="GB") == (True, "not_given", "legitimate_interest")
    choose(api, user, {consent: False})
    assert checked(api, user, consent, country="US") == (False, "denied", "opt_out")
    wrong = {"checks": [{"user": {"id": user}, "consent": consent, "country": "us"}]}
    assert api.post("/v1/check", wrong).json["errors"][0]["pointer"] == "/checks/0/country"


def test_model_of_an_instant_is_that_of_the_version_in_force(
    api: Gateway, new_consent: Callable[..., str], new_user: Callable[[], str]
) -> None:
    consent, user = new_consent(), new_user()
    between = datetime.now(UTC).isoformat()
    api.put(f"/v1/consents/{consent}", BASIC | {"model": "opt_out"})
    assert checked(api, user, consent) == (True, "not_given", "opt_out")
    assert checked(api, user, consent, between) == (False, "not_given", "opt_in")
    assert checked(api, user, consent, "2020-01-01T00:00:00Z") == (False, "not_given", "opt_in"), "the first version"


def test_grants_of_older_wordings_are_superseded_where_a_version_requires_new_consent(
    api: Gateway, stack: Stack, new_consent: Callable[..., str], new_user: Callable[[], str]
) -> None:
    consent = new_consent()
    path = f"/v1/consents/{consent}"
    yes, no, later = new_user(), new_user(), new_user()
    choose(api, yes, {consent: True})
    choose(api, no, {consent: False})
    api.put(path, BASIC | {"description": "harmless"})
    assert checked(api, yes, consent) == (True, "given", "opt_in"), "a new wording alone changes nothing"
    before = datetime.now(UTC).isoformat()
    api.put(path, BASIC | {"description": "with partners", "requires_new_consent": True})
    choose(api, later, {consent: True})
    assert checked(api, yes, consent) == (False, "superseded", "opt_in")
    assert checked(api, yes, consent, before) == (True, "given", "opt_in")
    assert checked(api, no, consent) == (False, "denied", "opt_in")
    assert checked(api, later, consent) == (True, "given", "opt_in")
    assert shown(api, yes) == [{"id": consent, "enabled": False, "reason": "superseded"}]
    assert shown(api, no) == [{"id": consent, "enabled": False}]
    for enabled, members in (("true", [later]), ("false", [no])):
        listed = api.get(f"/v1/users?consent={consent}&enabled={enabled}").json["items"]
        assert [user["id"] for user in listed] == members
        moment = before.replace("+", "%2B")
        earlier = api.get(f"/v1/users?consent={consent}&enabled={enabled}&as_of={moment}").json["items"]
        assert [user["id"] for user in earlier] == [yes if enabled == "true" else no]
        key = f"(SELECT min(subject_key) - 1 FROM pmp.subject WHERE id IN ('{yes}', '{no}', '{later}'))"
        exported = stack.cluster.psql(
            f"SELECT lines FROM pmp.export_page({key}, 1000, '{consent}', {enabled}, now(), now())"
        )
        assert [user in exported for user in (yes, no, later)] == [user in members for user in (yes, no, later)]
    # The next wording does not ask again: what was given since then counts on, what was given before does not.
    api.put(path, BASIC | {"description": "harmless again"})
    assert checked(api, later, consent) == (True, "given", "opt_in")
    assert checked(api, yes, consent) == (False, "superseded", "opt_in")
    old = {"user": {"id": later}, "consents": [{"id": consent, "enabled": True, "version": 1}]}
    assert api.post("/v1/events", old).status == 201
    assert checked(api, later, consent) == (False, "superseded", "opt_in"), "an old wording cannot be given any more"
    api.put(path, BASIC | {"model": "opt_out"})
    assert checked(api, yes, consent) == (True, "superseded", "opt_out"), "not given, where silence means yes"


def test_catalogue_is_bounded(api: Gateway, stack: Stack) -> None:
    free = 500 - int(stack.cluster.psql("SELECT count(*) FROM pmp.consent"))
    mark = f"z{uuid.uuid4().hex[:12]}"
    stack.cluster.psql(f"INSERT INTO pmp.consent (id) SELECT '{mark}_' || n FROM generate_series(2, {free}) AS n")
    try:
        assert api.put(f"/v1/consents/{mark}", BASIC).status == 201
        refused = api.put(f"/v1/consents/{mark}_more", BASIC)
        assert (refused.status, refused.json["detail"]) == (
            422,
            "the body: the catalogue has 500 consents, which is the most it can hold; change one of them instead",
        )
        assert api.get(f"/v1/consents/{mark}_more").status == 404
        assert api.put(f"/v1/consents/{mark}", BASIC | {"description": "y"}).json["version"] == 2
    finally:
        stack.cluster.psql(f"DELETE FROM pmp.consent WHERE id LIKE '{mark}\\_%'")


def test_list_of_what_expires_soon_pages_through_the_grants(api: Gateway) -> None:
    consent = f"soon{uuid.uuid4().hex}"
    assert (
        api.put(f"/v1/consents/{consent}", {"description": "x", "channel": "web", "expires_after_days": 30}).status
        == 201
    )
    now = datetime.now(UTC)
    granted = {}
    for days in (29, 20, 1, 31):  # days ago; the last has expired
        user = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
        granted[days] = user
        told = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        choice = {"user": {"id": user}, "occurred_at": told, "consents": [{"id": consent, "enabled": True}]}
        assert api.post("/v1/events", choice).status == 201

    def listed(days: int) -> list[str]:
        before = (now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        path, found = f"/v1/users?consent={consent}&enabled=true&limit=1&expires_before={before}", []
        while path:
            page = api.get(path)
            assert page.status == 200, page.content
            found += [item["id"] for item in page.json["items"]]
            path = page.headers.get("Link", "")[1:].partition(">")[0]
        return found

    assert listed(0) == []
    assert listed(7) == [granted[29]]
    assert listed(11) == [granted[29], granted[20]]
    assert listed(60) == [granted[29], granted[20], granted[1]]
    # Who denies, or grants again, is not asked again.
    assert choose(api, granted[20], {consent: False}).status == 201
    assert choose(api, granted[29], {consent: True}).status == 201
    assert listed(11) == []


@pytest.mark.parametrize(("query", "detail"), [
    ("expires_before=2027-01-01T00:00:00Z", "consent and enabled=true"),
    (f"consent={EMAIL}&enabled=false&expires_before=2027-01-01T00:00:00Z", "consent and enabled=true"),
    (f"consent={EMAIL}&enabled=true&as_of=2026-01-01T00:00:00Z&expires_before=2027-01-01T00:00:00Z", "leave out as_of"),
    (f"consent={EMAIL}&enabled=true&expires_before=2027-13-01T00:00:00Z", "valid"),
])  # fmt: skip
def test_list_of_what_expires_soon_is_of_present_grants(api: Gateway, query: str, detail: str) -> None:
    answer = api.get(f"/v1/users?{query}")
    assert answer.status == 422
    (error,) = answer.json["errors"]
    assert (error["parameter"], detail in error["detail"]) == ("expires_before", True)
