"""What a check of the doctor is, what it can find, and how an error of AWS is read."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from botocore.exceptions import BotoCoreError, ClientError

from ops import aws
from ops.errors import UserError

GUIDE = "docs/aws.md"


class Verdict(Enum):
    """What a check found, as the mark in front of its line."""

    RIGHT = "✓"
    WRONG = "✗"
    UNKNOWN = "·"


@dataclass(frozen=True)
class Finding:
    """The answer of a check: ``text`` says what there is, and ``cure`` what to do where something is wrong."""

    verdict: Verdict
    text: str
    cure: str = ""


def right(text: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(Verdict.RIGHT, text)


def wrong(text: str, cure: str) -> Finding:
    """Return a finding with what to do next."""
    return Finding(Verdict.WRONG, text, cure)


def unknown(text: str) -> Finding:
    """Return what could not, or need not, be asked."""
    return Finding(Verdict.UNKNOWN, text)


@dataclass(frozen=True)
class Check:
    """One question, asked only if the check ``after`` found nothing wrong.

    Attributes:
        name: in a word or two.
        ask: answers it; may raise `UserError` and botocore's errors.
        after: name of the check whose subject this one builds on, or nothing.
    """

    name: str
    ask: Callable[[], Finding]
    after: str = ""

    def answer(self) -> Finding:
        """Ask, and turn an error into a finding."""
        try:
            return self.ask()
        except UserError as error:
            return wrong(str(error), f"the step of {GUIDE} that this belongs to")
        except ClientError as error:
            if aws.error_code(error) in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}:
                return unknown(f"this identity may not call {error.operation_name}: ask as an administrator")
            return wrong(str(error), "the identity, the region and the account that are named above")
        except BotoCoreError as error:
            return wrong(f"AWS cannot be reached: {error}", "the network, AWS_REGION and the credentials")
