"""The value of a grant beside yes: a frequency, or topics. The rules that requests and imports share."""

from collections.abc import Sequence

_MOST = 50

Value = str | list[str]


def read(value: object, *, enabled: bool) -> Value:
    """A value in the one form in which it is kept: a list is sorted, because its order means nothing.

    Args:
        value: as the client sent it.
        enabled: whether the choice is a grant.

    Raises:
        ValueError: it is not a value; the message says what is wrong.
    """
    if not enabled:
        raise ValueError("is for a grant only; omit it from a denial")
    if type(value) is str:
        return value
    if type(value) is not list or not all(type(one) is str for one in value):
        raise ValueError("must be a string or an array of strings")
    if not 1 <= len(value) <= _MOST:
        raise ValueError(f"must have 1 to {_MOST} items; omit it if nothing is chosen")
    if len(set(value)) < len(value):
        raise ValueError("has an item more than once")
    return sorted(value)


def fits(value: Value, allowed: Sequence[str], *, multiple: bool) -> bool:
    """Whether a version of a consent takes a value: the rule of ``pmp.fits``.

    Args:
        value: as ``read`` returns it.
        allowed: ids of the version's values.
        multiple: whether it takes several.
    """
    if isinstance(value, list):
        return multiple and set(value) <= set(allowed)
    return not multiple and value in allowed


def refusal(allowed: Sequence[str], *, multiple: bool) -> str:
    """What is wrong with a value that does not fit."""
    if not allowed:
        return "is not for this consent, whose answer is yes or no only; omit it"
    listed = ", ".join(allowed)
    return f"must be an array of some of {listed}" if multiple else f"must be one of {listed}"
