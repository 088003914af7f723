"""Email addresses: the API and imports apply the same rule."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pmp import addresses


def outcome(normalizer: addresses.Normalizer | None, address: str) -> str:
    """Return the stored form, or the reason why the address is refused."""
    try:
        return normalizer.normalize(address) if normalizer else addresses.normalize(address)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("a" * 65 + "@example.com", "too long"),
        ("é" * 33 + "@example.com", "it has more than 64 octets before the @"),
        ("a" * 250 + "@example.com", "it has more than 254 octets"),
        ("a@localhost", "should have a period"),
        ("a b@example.com", "before the @-sign"),
        ("\ud800@example.com", "U+D800"),
        ("caf\ufffd@example.com", "it contains U+FFFD"),
        ("ada@caf\ufffd.com", "it contains U+FFFD"),
    ],
)
def test_invalid_address_raises_a_value_error_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a valid email address: ") as caught:
        addresses.normalize(address)
    assert reason in str(caught.value)


@pytest.mark.parametrize("address", ["secret;@example.com", "secret@example.test", "secret" * 11 + "@example.com"])
def test_discreet_reason_quotes_no_part_of_the_address(address: str) -> None:
    with pytest.raises(addresses.InvalidAddressError) as caught:
        addresses.normalize(address)
    assert caught.value.discreet.startswith("is not a valid email address: ")
    assert not [part for part in ("secret", ";", "test") if part in caught.value.discreet]


domains = st.sampled_from(
    [
        "example.com",
        "EXAMPLE.com",
        "xn--bcher-kva.example.com",
        "bücher.example.com",
        "b" * 63 + ".com",
        "localhost",
        "x",
    ]
) | st.integers(180, 200).map(lambda size: ".".join(["xn--bcher-kva", "b" * 60, "c" * 60, "d" * (size - 140), "com"]))


@settings(deadline=None)  # the first call imports the library
@given(st.text(min_size=1, max_size=70) | st.integers(1, 70).map(lambda size: "a" * size), domains)
def test_cached_domain_gives_the_same_result(local: str, domain: str) -> None:
    normalizer = addresses.Normalizer()
    outcome(normalizer, f"known@{domain}")
    address = f"{local}@{domain}"
    assert outcome(normalizer, address) == outcome(None, address)


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("Ada@EXAMPLE.com", "Ada@EXAMPLE.com"),
        ("a@xn--bcher-kva.example.com", "a@bücher.example.com"),
        ("e\u0301@x.example.com", "\u00e9@x.example.com"),
        ("' OR 1=1 --", "' OR 1=1 --"),
    ],
)
def test_lookup_form_equals_the_stored_form(address: str, form: str) -> None:
    assert addresses.lookup_form(address) == form


letters = st.text(st.characters(categories=["Ll", "Lu", "Lo", "Mn", "Nd"]), min_size=1, max_size=12)


@settings(deadline=None)
@given(letters, letters | letters.map(lambda label: label.encode("punycode").decode()))
def test_lookup_form_of_a_valid_address_equals_the_stored_form(local: str, label: str) -> None:
    address = f"{local}@{label}.example.com"
    with contextlib.suppress(ValueError):
        assert addresses.lookup_form(address).lower() == addresses.normalize(address).lower()
