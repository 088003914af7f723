"""TC strings: published examples, round trips, and strings that nobody should send."""

import contextlib
import dataclasses
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmp.signals import tcf
from pmp.signals.bits import LONGEST, Ranges, SignalError, merged

from tests.support import signal_strings as written

SPECIFICATION = "CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA.IDKQA4AAgAKAGQAygAAA.YAAAAAAAAAAA"
"""https://github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework/blob/master/TCFv2/IAB%20Tech%20Lab%20-%20Consent%20string%20and%20vendor%20list%20formats%20v2.md#tc-string-format"""

GPP_SPECIFICATION = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"
"""https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform/blob/main/Core/Consent%20String%20Specification.md#gpp-string-examples"""

IAB_TEST = "CPTtLAAPTtLAAAAAAAENAAFgALwAAEAAAAAAAOgAgABgAAAA.IAoAAgABgAAEAQAAEAAA.d4AACEAAAAAA"
"""With what it says: https://github.com/IABTechLab/iabgpp-es/blob/master/modules/cmpapi/test/encoder/section/TcfEuV2.test.ts"""


def ranges(largest: int) -> st.SearchStrategy[Ranges]:
    pair = st.tuples(st.integers(1, largest), st.integers(1, largest)).map(lambda two: (min(two), max(two)))
    return st.lists(pair, max_size=8).map(merged)


instants = st.integers(0, 2**36 - 1)
two_letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)
publishers = st.builds(tcf.Publisher, ranges(24), ranges(24), ranges(63), ranges(63))
restrictions = st.builds(tcf.Restriction, st.integers(0, 63), st.sampled_from(tcf.RESTRICTIONS), ranges(1500))
tc_strings = st.builds(
    tcf.TcString,
    created=st.just(""),
    updated=st.just(""),
    cmp_id=st.integers(0, 4095),
    cmp_version=st.integers(0, 4095),
    screen=st.integers(0, 63),
    language=two_letters,
    vendor_list_version=st.integers(0, 4095),
    policy_version=st.integers(0, 63),
    special_features=ranges(12),
    consents=ranges(24),
    legitimate_interests=ranges(24),
    country=two_letters,
    vendor_consents=ranges(1500),
    vendor_legitimate_interests=ranges(1500),
    restrictions=st.lists(restrictions, max_size=4).map(tuple),
    disclosed=st.none() | ranges(1500),
    publisher=st.none() | publishers,
)


def test_example_of_the_specification_is_decoded() -> None:
    found = tcf.decode(SPECIFICATION)
    assert (found.created, found.cmp_id, found.language, found.country) == ("2025-06-03T00:00:00.000Z", 880, "EN", "DE")
    assert (found.vendor_list_version, found.policy_version, found.is_service_specific) == (48, 2, True)
    assert found.vendor_consents == ((1, 4),)
    assert found.disclosed == ((1, 5), (100, 100), (404, 404))
    assert found.publisher == tcf.Publisher((), (), (), ())


def test_published_test_vector_is_decoded() -> None:
    found = tcf.decode(IAB_TEST)
    assert (found.updated, found.policy_version) == ("2022-02-01T00:00:00.000Z", 5)
    assert (found.consents, found.legitimate_interests) == (((1, 1), (3, 6)), ((2, 2),))
    assert found.vendor_consents == ((11, 11), (28, 29))
    assert found.disclosed == ((11, 11), (28, 29), (50, 50), (60, 60), (80, 80))
    assert found.publisher == tcf.Publisher(((1, 1), (3, 6)), ((2, 2), (7, 7)), (), ())


def test_string_of_before_tcf_2_3_has_no_disclosed_vendors() -> None:
    found = tcf.decode(GPP_SPECIFICATION)
    assert (found.cmp_id, found.vendor_list_version, found.disclosed, found.publisher) == (31, 126, None, None)


@given(tc_strings, instants, st.booleans())
def test_what_is_written_is_read(tc: tcf.TcString, deciseconds: int, as_ranges: bool) -> None:
    found = tcf.decode(written.tc_string(tc, deciseconds, as_ranges=as_ranges))
    assert found.created == found.updated
    assert dataclasses.replace(found, created="", updated="") == tc


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "core segment: ends within Version"),
        ("B" + SPECIFICATION[1:], "core segment: Version is 1, not 2"),
        (
            SPECIFICATION[:20] + "=" + SPECIFICATION[21:],
            "core segment: character 21 is not one of A-Z, a-z, 0-9, - and _",
        ),
        ("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYg", "core segment: ends within VendorConsents"),
        (GPP_SPECIFICATION + "AAC", "core segment: goes on after its last field, at bit 281"),
        (SPECIFICATION + ".", "segment 4: ends within SegmentType"),
        (SPECIFICATION + ".IAAA", "segment 4: SegmentType 1 appears more than once"),
        (GPP_SPECIFICATION + ".gAAA", "segment 2: SegmentType is 4, which is not defined"),
        (GPP_SPECIFICATION + ".IDK", "segment 2: ends within DisclosedVendors"),
        ("A" * (LONGEST + 1), f"has more than {LONGEST} characters"),
    ],
)
def test_wrong_string_is_refused_with_the_place(text: str, detail: str) -> None:
    with pytest.raises(SignalError) as caught:
        tcf.decode(text)
    assert str(caught.value) == detail


@pytest.mark.parametrize(
    ("bits", "detail"),
    [
        (written.number(9, 16) + "1" + written.entries([(0, 3)]), "has a range from 0 to 3"),
        (written.number(9, 16) + "1" + written.entries([(5, 4)]), "has a range from 5 to 4"),
        (written.number(9, 16) + "1" + written.entries([(5, 10)]), "has the id 10 above its MaxVendorId, 9"),
    ],
)
def test_impossible_ids_are_refused(bits: str, detail: str) -> None:
    with pytest.raises(SignalError, match=f"segment 2: DisclosedVendors {detail}"):
        tcf.decode(f"{GPP_SPECIFICATION}.{written.text('001' + bits)}")


def test_undefined_restriction_and_country_are_refused() -> None:
    blank = tcf.decode(GPP_SPECIFICATION)
    bits = written.core(dataclasses.replace(blank, restrictions=()), 0, as_ranges=False)
    with pytest.raises(SignalError, match="RestrictionType is 3"):
        tcf.decode(written.text(bits[:-12] + written.number(1, 12) + written.number(2, 6) + "11" + written.entries([])))
    country = 201
    with pytest.raises(SignalError, match="PublisherCC is not two letters"):
        tcf.decode(written.text(bits[:country] + written.number(26, 6) + bits[country + 6 :]))


def test_entries_may_come_in_any_order_and_overlap() -> None:
    bits = "001" + written.number(9, 16) + "1" + written.entries([(7, 9), (1, 2), (3, 3), (8, 8)])
    assert tcf.decode(f"{GPP_SPECIFICATION}.{written.text(bits)}").disclosed == ((1, 3), (7, 9))


@pytest.mark.parametrize("last", [2**16 - 1, 1])
def test_string_full_of_ranges_takes_little_time_and_memory(last: int) -> None:
    room = 6 * (LONGEST - len(GPP_SPECIFICATION) - 1) - 3 - 16 - 1 - 12
    entry = (1, last) if last > 1 else (2**16 - 1, 2**16 - 1)
    number = room // (33 if last > 1 else 17)
    bits = "001" + written.number(2**16 - 1, 16) + "1" + written.entries([entry] * number)
    bomb = f"{GPP_SPECIFICATION}.{written.text(bits)}"
    assert LONGEST - 10 < len(bomb) <= LONGEST
    tracemalloc.start()
    began = time.process_time()
    found = tcf.decode(bomb)
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.disclosed == (entry,)
    assert seconds < 0.5
    assert peak < 2**20


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", max_size=300))
def test_no_text_breaks_the_decoder(text: str) -> None:
    for start in ("", "CPXxRfAPXxRfAAfKABENB", SPECIFICATION[:-5]):
        with contextlib.suppress(SignalError):
            tcf.decode(start + text)
