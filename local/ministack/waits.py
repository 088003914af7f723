"""Answers of MiniStack that spare Terraform's provider waits for what an emulator does at once.

The provider waits long after many creations, because AWS takes a while to show them everywhere. Most of its waits are
fixed. Where it waits only if the answer tells it to, MiniStack's answer leaves that part out. ADR 0506 lists the rest.
"""

import re
from collections.abc import Callable
from typing import Any

from ministack.services import route53

_CHANGE = re.compile(rb"<ChangeInfo>.*?</ChangeInfo>", re.DOTALL)


def install() -> None:
    """Shorten the answers; call once per process."""
    answer_without_change()


def answer_without_change() -> None:
    """Let creations of hosted zones and records name no change to wait for: each wait takes 10 to 45 s.

    AWS always names one: https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
    """

    def shortened(answer: Callable[..., Any]) -> Callable[..., Any]:
        def without_change(*arguments: Any, **named: Any) -> Any:
            status, headers, body = answer(*arguments, **named)
            return status, headers, _CHANGE.sub(b"", body)

        return without_change

    route53._create_hosted_zone = shortened(route53._create_hosted_zone)
    route53._change_resource_record_sets = shortened(route53._change_resource_record_sets)
