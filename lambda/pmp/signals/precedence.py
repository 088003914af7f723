"""When an opt-out signal denies a consent, and when the stored choice stays: one table, each row with its source.

``docs/signals.md`` shows the same rows; a test compares them.
"""

from typing import NamedTuple

GPC = "gpc"
"""Global Privacy Control, as a consent's ``opt_out_signals`` name it."""

_CALIFORNIA = "https://www.law.cornell.edu/regulations/california/11-CCR-7025"
_COLORADO = "https://coag.gov/app/uploads/2023/03/FINAL-CLEAN-2023.03.15-Official-CPA-Rules.pdf"
_GPC = "https://w3c.github.io/gpc/"


class Rule(NamedTuple):
    """A row of the table.

    Attributes:
        state: of the consent when the signal arrives, as ``pmp.record_signal`` finds it; ``no_signal``: in any state.
        denies: whether the signal is recorded as a denial.
        meaning: for people.
        sources: by name, their addresses.
    """

    state: str
    denies: bool
    meaning: str
    sources: dict[str, str]


RULES = (
    Rule(
        "not_given",
        True,
        "A signal is a valid request to opt out.",
        {"11 CCR § 7025(c)(1)": _CALIFORNIA, "4 CCR 904-3, Rule 5.08(A)(1)": _COLORADO},
    ),
    Rule(
        "granted",
        True,
        "A signal also counts against an earlier choice. The user may be told so, and asked.",
        {"11 CCR § 7025(c)(3)": _CALIFORNIA},
    ),
    Rule(
        "granted_despite_signal",
        False,
        "Who agreed after being told of the conflict has decided: the signal may be ignored.",
        {"11 CCR § 7025(c)(3)": _CALIFORNIA, "4 CCR 904-3, Rule 5.09(A)": _COLORADO},
    ),
    Rule(
        "denied",
        False,
        "The denial stays; a repeated signal adds nothing to the record.",
        {"4 CCR 904-3, Rule 5.08(A)(2)": _COLORADO},
    ),
    Rule(
        "no_signal",
        False,
        "The absence of a signal is not a consent, and does not end a denial.",
        {"4 CCR 904-3, Rule 5.09(B)": _COLORADO, "GPC": _GPC},
    ),
)

DENIED_STATES = [rule.state for rule in RULES if rule.denies]
