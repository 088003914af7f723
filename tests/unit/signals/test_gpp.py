"""GPP strings: published examples, round trips, and strings that nobody should send."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmp.signals import gpp, tcf
from pmp.signals.bits import LONGEST, Ranges, Reader, SignalError, merged

from tests.support import signal_strings as written

TC = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"

LISTED = [number for number, layout in sorted(gpp._LAYOUTS.items())]


def us(text: str) -> gpp.UsSection:
    (section,) = gpp.decode(text)
    assert isinstance(section.content, gpp.UsSection)
    return section.content


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        # https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform/blob/main/Core/Consent%20String%20Specification.md#gpp-string-examples
        (f"DBABM~{TC}", [(2, "tcfeuv2", TC)]),
        (f"DBACNY~{TC}~1YNN", [(2, "tcfeuv2", TC), (6, "uspv1", "1YNN")]),
        (f"DBABjw~{TC}~1YNN", [(5, "tcfcav1", TC), (6, "uspv1", "1YNN")]),
        # https://github.com/IABTechLab/iabgpp-es/blob/master/modules/cmpapi/test/GppModel.test.ts
        ("DBAA", []),
        ("DBABTA~1YNN", [(6, "uspv1", "1YNN")]),
    ],
)
def test_published_header_is_decoded(text: str, sections: list[tuple[int, str, str]]) -> None:
    found = gpp.decode(text)
    assert [(section.id, section.name, section.text) for section in found] == sections
    for section in found:
        assert section.content == (tcf.decode(TC) if section.id == gpp.TCF_EU else None)


_TWO, _THREE = [2, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0, 2], [2, 1, 0]


@pytest.mark.parametrize(
    ("number", "text", "sensitive", "children"),
    # With what they say: https://github.com/IABTechLab/iabgpp-es/tree/master/modules/cmpapi/test/encoder/section
    [
        (7, "CVVVkkkkkpFY.YA", _TWO, _THREE),
        (8, "BVWSSSVY.YA", _TWO[:9], _THREE[:2]),
        (9, "BVWSSVY", _TWO[:8], 1),
        (10, "BVWSSVg.YA", _TWO[:7], 1),
        (11, "BVVkklWA", _TWO[:8], 1),
        (12, "BVWSSZFg.YA", _TWO[:8], _THREE),
        (13, "BVWSSZlY", _TWO[:8], [2, 1, 2]),
        (15, "BVWSSRpFYA.YA", [2, 1, 0, 2, 1, 0, 2, 1, 0, 1, 2], _THREE),
        (16, "BVWSSVWA.YA", _TWO[:8], 1),
        (17, "BVWSSSSVYA.YA", _TWO[:9], [2, 1, 0, 2, 1]),
        (21, "BVWSSRklWA.YA", [*_TWO[:9], 1], [2, 1, 0, 2, 1]),
    ],
)
def test_published_section_is_decoded(number: int, text: str, sensitive: list[int], children: int | list[int]) -> None:
    found = us(f"{written.header(((number, number),))}~{text}")
    fields = dict(found.fields)
    assert fields.pop("sensitive_data_processing") == sensitive
    assert fields.pop("known_child_sensitive_data_consents") == children
    assert fields.pop("mspa_service_provider_mode") == 2
    assert set(fields.values()) == {1}
    assert found.gpc is (True if "." in text else None)
    assert {"sale"} < set(found.opt_outs) <= {"sale", "sharing", "targeted_advertising"}


@pytest.mark.parametrize(
    ("text", "version", "sensitive", "children"),
    [
        # https://github.com/IABTechLab/iabgpp-es/blob/master/modules/cmpapi/test/encoder/section/UsNat.test.ts
        ("BAAAVVVVUQA.QA", 1, 12, 2),
        ("CAAAVVVVVVRA.QA", 2, 16, 3),
        # As a consent manager sends it: version 1 in the longer form.
        ("BVQqAAAAAAJY.QA", 1, 16, 3),
    ],
)
def test_national_section_is_read_by_its_length(text: str, version: int, sensitive: int, children: int) -> None:
    found = us(f"DBABLA~{text}")
    assert (found.version, found.gpc) == (version, False)
    lists = [found.fields[name] for name in ("sensitive_data_processing", "known_child_sensitive_data_consents")]
    assert [len(values) for values in lists if isinstance(values, list)] == [sensitive, children]
    assert found.fields["mspa_covered_transaction"] == 1


@pytest.mark.parametrize("number", LISTED)
@given(data=st.data())
def test_what_is_written_is_read(number: int, data: st.DataObject) -> None:
    layout = gpp._LAYOUTS[number]
    values = data.draw(st.lists(st.integers(0, 2), min_size=60, max_size=60))
    gpc = data.draw(st.none() | st.booleans())
    version = 2 if number == 7 else 1
    size = sum(max(1, length) for _, length in layout)
    found = us(f"{written.header(((number, number),))}~{written.us_section(values[:size], version, gpc)}")
    flat = [value for field in found.fields.values() for value in (field if isinstance(field, list) else [field])]
    assert (found.version, flat, found.gpc) == (version, values[:size], gpc)


@given(st.lists(st.tuples(st.integers(28, 500), st.integers(0, 5)), max_size=6))
def test_header_lists_the_sections(pairs: list[tuple[int, int]]) -> None:
    ranges: Ranges = merged((first, first + more) for first, more in pairs)
    numbers = [number for first, last in ranges for number in range(first, last + 1)]
    text = "~".join([written.header(ranges), *(f"x{number}" for number in numbers)])
    assert [(section.id, section.text, section.name) for section in gpp.decode(text)] == [
        (number, f"x{number}", None) for number in numbers
    ]


@given(st.integers(1, 2**16))
def test_fibonacci_code_is_read(value: int) -> None:
    reader = Reader(written.text(written.fibonacci(value)), "header")
    assert reader.fibonacci("x") == value
    reader.end()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "header: ends within Type"),
        (TC, "header: Type is 2 and Version is 15; those of a GPP string are 3 and 1"),
        ("DBAB!~x", "header: character 5 is not one of A-Z, a-z, 0-9, - and _"),
        ("DBABAA~x", "header: Sections is not a Fibonacci code of at most 24 bits"),
        ("DBABTA", "header: lists more sections than the 0 that follow"),
        ("DBABTA~1YNN~1YNN", "header: lists 1 sections, but 2 follow"),
        ("DBABLA~", "section 7 (usnat): core segment: ends within Version"),
        ("DBABLA~DVVVkkkkkpFY.YA", "section 7 (usnat): core segment: Version is 3, which PMP does not know"),
        (
            "DBABLA~CwVVkkkkkpFY.YA",
            "section 7 (usnat): core segment: sharing_notice has the value 3, which is not defined",
        ),
        ("DBABLA~CVVVkkkkkpFY.oA", "section 7 (usnat): segment 2: SubsectionType is 2, not 1"),
        (
            "DBABLA~CVVVkkkkkpFY.YA.YA",
            "section 7 (usnat): has 2 segments after its core; only one, for GPC, is defined",
        ),
        ("DBABM~CPXxRfAPXxRfAAfKABENB", "section 2 (tcfeuv2): core segment: ends within VendorListVersion"),
        ("DBAA" + "A" * LONGEST, f"has more than {LONGEST} characters"),
    ],
)
def test_wrong_string_is_refused_with_the_place(text: str, detail: str) -> None:
    with pytest.raises(SignalError) as caught:
        gpp.decode(text)
    assert str(caught.value) == detail


def test_header_that_claims_many_sections_is_refused_at_once() -> None:
    bits = written.number(3, 6) + written.number(1, 6) + written.number(4095, 12)
    bits += ("1" + written.fibonacci(1) + written.fibonacci(60_000)) * 900
    began = time.process_time()
    with pytest.raises(SignalError, match="lists more sections than the 1 that follow"):
        gpp.decode(f"{written.text(bits)[: LONGEST - 2]}~x")
    assert time.process_time() - began < 0.5


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", max_size=200))
def test_no_text_breaks_the_decoder(text: str) -> None:
    for start in ("", "DB", "DBABLA~", "DBACNY~", "DBABM~CPXxRfA"):
        with contextlib.suppress(SignalError):
            gpp.decode(start + text)
