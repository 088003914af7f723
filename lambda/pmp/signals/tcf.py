"""TC strings of the IAB Europe Transparency & Consent Framework, version 2.

The format: https://github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework/blob/master/TCFv2/IAB%20Tech%20Lab%20-%20Consent%20string%20and%20vendor%20list%20formats%20v2.md

A string is a record of what was told at its time, so what the framework has since required is not asked of it: TCF 2.3
made the segment of disclosed vendors mandatory, for example. What a string lacks is None.
"""

from dataclasses import dataclass

from pmp.signals.bits import Ranges, Reader, check_length

VERSION = 2
RESTRICTIONS = ("not_allowed", "require_consent", "require_legitimate_interest")
"""By ``RestrictionType``. 3 is not defined."""

_PURPOSES, _SPECIAL_FEATURES = 24, 12
_DISCLOSED, _ALLOWED, _PUBLISHER = 1, 2, 3
"""``SegmentType``. Allowed vendors were part of the format until 2021."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A publisher's restriction of some vendors.

    Attributes:
        purpose: its id.
        kind: one of ``RESTRICTIONS``.
        vendors: their ids.
    """

    purpose: int
    kind: str
    vendors: Ranges


@dataclass(frozen=True, slots=True)
class Publisher:
    """The segment of the publisher's own purposes: ids of purposes, and of custom purposes of the publisher."""

    consents: Ranges
    legitimate_interests: Ranges
    custom_consents: Ranges
    custom_legitimate_interests: Ranges


@dataclass(frozen=True, slots=True)
class TcString:
    """A decoded TC string, its fields in the order of the format.

    Attributes:
        created: RFC 3339; since 2021 the day of the last update.
        updated: RFC 3339.
        cmp_id: of the consent manager.
        cmp_version: of the consent manager.
        screen: of the consent manager, on which the user chose.
        language: two letters (ISO 639-1).
        vendor_list_version: of the Global Vendor List that was shown.
        policy_version: of that list.
        is_service_specific: always true since 2021.
        uses_non_standard_texts: the consent manager changed the standard's texts.
        special_features: ids that the user opted in to.
        consents: ids of purposes that the user consented to.
        legitimate_interests: ids of purposes with a legitimate interest, to which the user did not object.
        purpose_one_is_special: purpose 1 was not disclosed.
        country: of the publisher, two letters (ISO 3166-1).
        vendor_consents: ids of vendors.
        vendor_legitimate_interests: ids of vendors.
        restrictions: of the publisher.
        disclosed: ids of the vendors that were shown; None before TCF 2.3, or where the segment is missing.
        publisher: None where the segment is missing.
    """

    created: str
    updated: str
    cmp_id: int
    cmp_version: int
    screen: int
    language: str
    vendor_list_version: int
    policy_version: int
    is_service_specific: bool
    uses_non_standard_texts: bool
    special_features: Ranges
    consents: Ranges
    legitimate_interests: Ranges
    purpose_one_is_special: bool
    country: str
    vendor_consents: Ranges
    vendor_legitimate_interests: Ranges
    restrictions: tuple[Restriction, ...]
    disclosed: Ranges | None
    publisher: Publisher | None


def decode(text: str) -> TcString:
    """Decode a TC string.

    Raises:
        SignalError: it is not a TC string of version 2; the text says where it is wrong.
    """
    check_length(text)
    core, *others = text.split(".")
    segments: dict[int, Reader] = {}
    for place, segment in enumerate(others, start=2):
        reader = Reader(segment, f"segment {place}")
        kind = reader.integer(3, "SegmentType")
        if kind not in {_DISCLOSED, _ALLOWED, _PUBLISHER}:
            raise reader.wrong(f"SegmentType is {kind}, which is not defined")
        if kind in segments:
            raise reader.wrong(f"SegmentType {kind} appears more than once")
        segments[kind] = reader
    if _ALLOWED in segments:
        _ids(segments[_ALLOWED], "AllowedVendors")
    return _core(
        Reader(core, "core segment"),
        _ids(segments[_DISCLOSED], "DisclosedVendors") if _DISCLOSED in segments else None,
        _publisher(segments[_PUBLISHER]) if _PUBLISHER in segments else None,
    )


def _core(reader: Reader, disclosed: Ranges | None, publisher: Publisher | None) -> TcString:
    version = reader.integer(6, "Version")
    if version != VERSION:
        raise reader.wrong(f"Version is {version}, not {VERSION}")
    found = TcString(
        created=reader.instant("Created"),
        updated=reader.instant("LastUpdated"),
        cmp_id=reader.integer(12, "CmpId"),
        cmp_version=reader.integer(12, "CmpVersion"),
        screen=reader.integer(6, "ConsentScreen"),
        language=reader.letters("ConsentLanguage"),
        vendor_list_version=reader.integer(12, "VendorListVersion"),
        policy_version=reader.integer(6, "TcfPolicyVersion"),
        is_service_specific=reader.flag("IsServiceSpecific"),
        uses_non_standard_texts=reader.flag("UseNonStandardTexts"),
        special_features=reader.ones(_SPECIAL_FEATURES, "SpecialFeatureOptIns"),
        consents=reader.ones(_PURPOSES, "PurposesConsent"),
        legitimate_interests=reader.ones(_PURPOSES, "PurposesLITransparency"),
        purpose_one_is_special=reader.flag("PurposeOneTreatment"),
        country=reader.letters("PublisherCC"),
        vendor_consents=reader.ids("VendorConsents"),
        vendor_legitimate_interests=reader.ids("VendorLegitimateInterests"),
        restrictions=tuple(_restriction(reader) for _ in range(reader.integer(12, "NumPubRestrictions"))),
        disclosed=disclosed,
        publisher=publisher,
    )
    reader.end()
    return found


def _restriction(reader: Reader) -> Restriction:
    purpose, kind = reader.integer(6, "PubRestrictionEntry"), reader.integer(2, "PubRestrictionEntry")
    if kind >= len(RESTRICTIONS):
        raise reader.wrong(f"RestrictionType is {kind}, which is not defined")
    return Restriction(purpose, RESTRICTIONS[kind], reader.entries("PubRestrictionEntry"))


def _ids(reader: Reader, field: str) -> Ranges:
    found = reader.ids(field)
    reader.end()
    return found


def _publisher(reader: Reader) -> Publisher:
    consents = reader.ones(_PURPOSES, "PubPurposesConsent")
    legitimate_interests = reader.ones(_PURPOSES, "PubPurposesLITransparency")
    custom = reader.integer(6, "NumCustomPurposes")
    found = Publisher(
        consents,
        legitimate_interests,
        reader.ones(custom, "CustomPurposesConsent"),
        reader.ones(custom, "CustomPurposesLITransparency"),
    )
    reader.end()
    return found
