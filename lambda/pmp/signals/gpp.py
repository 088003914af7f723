"""GPP strings of the IAB Tech Lab's Global Privacy Platform, version 1.

The format: https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform/blob/main/Core/Consent%20String%20Specification.md
The sections: https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform/tree/main/Sections

Decoded are the TC string of the EU (section 2) and the sections of the United States that are released (7 to 23). The
others, among them those in public comment (24 to 27), keep their text.
"""

from dataclasses import dataclass

from pmp.signals import tcf
from pmp.signals.bits import LARGEST_ID, Reader, SignalError, check_length

TCF_EU = 2

_HEADER, _VERSION = 3, 1
_GPC = 1
"""``SubsectionType`` of Global Privacy Control."""

_NAMES = {
    1: "tcfeuv1", 2: "tcfeuv2", 5: "tcfcav1", 6: "uspv1", 7: "usnat", 8: "usca", 9: "usva", 10: "usco", 11: "usut",
    12: "usct", 13: "usfl", 14: "usmt", 15: "usor", 16: "ustx", 17: "usde", 18: "usia", 19: "usne", 20: "usnh",
    21: "usnj", 22: "ustn", 23: "usmn", 24: "usmd", 25: "usin", 26: "usky", 27: "usri",
}  # fmt: skip

_Layout = tuple[tuple[str, int], ...]
"""The fields of a core sub-section after its version: the name, and of how many values of two bits it is a list (0: it
is one value)."""

_MSPA: _Layout = (("mspa_covered_transaction", 0), ("mspa_opt_out_option_mode", 0), ("mspa_service_provider_mode", 0))
_NATIONAL: _Layout = (
    ("sharing_notice", 0),
    ("sale_opt_out_notice", 0),
    ("sharing_opt_out_notice", 0),
    ("targeted_advertising_opt_out_notice", 0),
    ("sensitive_data_processing_opt_out_notice", 0),
    ("sensitive_data_limit_use_notice", 0),
    ("sale_opt_out", 0),
    ("sharing_opt_out", 0),
    ("targeted_advertising_opt_out", 0),
)


def _national(sensitive: int, children: int) -> _Layout:
    lists = (("sensitive_data_processing", sensitive), ("known_child_sensitive_data_consents", children))
    return (*_NATIONAL, *lists, ("personal_data_consents", 0), *_MSPA)


def _state(
    notice: str, sensitive: int, children: int, *, additional: bool = False, sensitive_notice: str | None = None
) -> _Layout:
    return (
        (notice, 0),
        ("sale_opt_out_notice", 0),
        ("targeted_advertising_opt_out_notice", 0),
        *(((sensitive_notice, 0),) if sensitive_notice else ()),
        ("sale_opt_out", 0),
        ("targeted_advertising_opt_out", 0),
        ("sensitive_data_processing", sensitive),
        ("known_child_sensitive_data_consents", children),
        *((("additional_data_processing_consent", 0),) if additional else ()),
        *_MSPA,
    )


_SHARING, _PROCESSING = "sharing_notice", "processing_notice"
_LAYOUTS: dict[int, _Layout] = {
    7: _national(16, 3),
    8: (
        ("sale_opt_out_notice", 0),
        ("sharing_opt_out_notice", 0),
        ("sensitive_data_limit_use_notice", 0),
        ("sale_opt_out", 0),
        ("sharing_opt_out", 0),
        ("sensitive_data_processing", 9),
        ("known_child_sensitive_data_consents", 2),
        ("personal_data_consents", 0),
        *_MSPA,
    ),
    9: _state(_SHARING, 8, 0),
    10: _state(_SHARING, 7, 0),
    11: _state(_SHARING, 8, 0, sensitive_notice="sensitive_data_processing_opt_out_notice"),
    12: _state(_SHARING, 8, 3),
    13: _state(_PROCESSING, 8, 3, additional=True),
    14: _state(_SHARING, 8, 3, additional=True),
    15: _state(_PROCESSING, 11, 3, additional=True),
    16: _state(_PROCESSING, 8, 0, additional=True),
    17: _state(_PROCESSING, 9, 5, additional=True),
    18: _state(_PROCESSING, 8, 0, sensitive_notice="sensitive_data_opt_out_notice"),
    19: _state(_PROCESSING, 8, 0, additional=True),
    20: _state(_PROCESSING, 8, 3, additional=True),
    21: _state(_PROCESSING, 10, 5, additional=True),
    22: _state(_PROCESSING, 8, 0, additional=True),
    23: _state(_PROCESSING, 8, 0, additional=True),
}
"""By section id: the published layouts, of version 1; of section 7, version 2."""

_NATIONAL_BEFORE_2024 = _national(12, 2)

_OPT_OUTS = {
    "sale_opt_out": "sale",
    "sharing_opt_out": "sharing",
    "targeted_advertising_opt_out": "targeted_advertising",
}
_OPTED_OUT = 1


@dataclass(frozen=True, slots=True)
class UsSection:
    """A section of the United States.

    Attributes:
        version: of the section's format.
        fields: by their names in the specification, in snake case: 0, 1 or 2 with the meaning that the specification
            gives it, or a list of those.
        gpc: Global Privacy Control when the string was made; None where the string does not say.
    """

    version: int
    fields: dict[str, int | list[int]]
    gpc: bool | None

    @property
    def opt_outs(self) -> list[str]:
        """What the user opted out of: ``sale``, ``sharing``, ``targeted_advertising``."""
        return [name for field, name in _OPT_OUTS.items() if self.fields.get(field) == _OPTED_OUT]


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a GPP string.

    Attributes:
        id: its section id.
        name: its prefix in the client-side API; None for an id that is not registered.
        text: as it is in the string.
        content: what it says; None where this module does not decode it.
    """

    id: int
    name: str | None
    text: str
    content: tcf.TcString | UsSection | None


def decode(text: str) -> tuple[Section, ...]:
    """Decode a GPP string.

    Raises:
        SignalError: it is not a GPP string of version 1; the text says where it is wrong.
    """
    check_length(text)
    header, *parts = text.split("~")
    identifiers = _sections(header, len(parts))
    return tuple(_section(identifier, part) for identifier, part in zip(identifiers, parts, strict=True))


def _sections(header: str, expected: int) -> list[int]:
    """The section ids that the header lists."""
    reader = Reader(header, "header")
    kind, version = reader.integer(6, "Type"), reader.integer(6, "Version")
    if (kind, version) != (_HEADER, _VERSION):
        raise reader.wrong(
            f"Type is {kind} and Version is {version}; those of a GPP string are {_HEADER} and {_VERSION}"
        )
    found: list[int] = []
    last = 0
    for _ in range(reader.integer(12, "Sections")):
        is_range = reader.flag("Sections")
        first = last + reader.fibonacci("Sections")
        last = first + (reader.fibonacci("Sections") if is_range else 0)
        # Before the range is expanded: it may claim billions.
        if len(found) + last - first >= expected or last > LARGEST_ID:
            raise reader.wrong(f"lists more sections than the {expected} that follow")
        found.extend(range(first, last + 1))
    reader.end()
    if len(found) != expected:
        raise reader.wrong(f"lists {len(found)} sections, but {expected} follow")
    return found


def _section(identifier: int, text: str) -> Section:
    name = _NAMES.get(identifier)
    content: tcf.TcString | UsSection | None = None
    try:
        if identifier == TCF_EU:
            content = tcf.decode(text)
        elif identifier in _LAYOUTS:
            content = _us(identifier, text)
    except SignalError as error:
        raise SignalError(f"section {identifier} ({name}): {error}") from None
    return Section(identifier, name, text, content)


def _us(identifier: int, text: str) -> UsSection:
    core, *others = text.split(".")
    reader = Reader(core, "core segment")
    version = reader.integer(6, "Version")
    layout = _layout(identifier, version, len(reader))
    if layout is None:
        raise reader.wrong(f"Version is {version}, which PMP does not know")
    fields = {field: _field(reader, field, size) for field, size in layout}
    reader.end()
    if len(others) > 1:
        raise SignalError(f"has {len(others)} segments after its core; only one, for GPC, is defined")
    gpc = None
    if others:
        reader = Reader(others[0], "segment 2")
        if (kind := reader.integer(2, "SubsectionType")) != _GPC:
            raise reader.wrong(f"SubsectionType is {kind}, not {_GPC}")
        gpc = reader.flag("Gpc")
        reader.end()
    return UsSection(version, fields, gpc)


def _layout(identifier: int, version: int, bits: int) -> _Layout | None:
    """The layout of a core sub-section; None for a version that has none.

    Section 7 got longer lists in October 2024. Its version then went from 1 to 2, but consent managers also send the
    longer form as version 1, so that the length decides, as in the IAB Tech Lab's own library:
    https://github.com/IABTechLab/iabgpp-es/blob/master/modules/cmpapi/src/encoder/segment/UsNatCoreSegment.ts
    """
    layout = _LAYOUTS[identifier]
    if identifier != 7:
        return layout if version == 1 else None
    if version == 1 and bits < 6 + sum(2 * max(size, 1) for _, size in layout):
        return _NATIONAL_BEFORE_2024
    return layout if version in {1, 2} else None


def _field(reader: Reader, field: str, size: int) -> int | list[int]:
    values = [reader.integer(2, field) for _ in range(max(size, 1))]
    if max(values) > 2:
        raise reader.wrong(f"{field} has the value 3, which is not defined")
    return values if size else values[0]
