"""The comparison of ``make parity`` reports all differences and nothing else."""

from pathlib import Path

import pytest

from checks.parity.comparison import Difference, compare, load


def test_equal_resources_at_different_addresses_do_not_differ() -> None:
    ours = {"module.vpc.aws_vpc.this": {"cidr_block": "10.0.0.0/16", "tags": {}}}
    real = {"module.vpc.aws_vpc.this[0]": {"cidr_block": "10.0.0.0/16", "tags": None, "ipv6": ""}}
    assert list(compare(ours, real)) == []


def test_policies_are_compared_as_json() -> None:
    ours = {"aws_iam_role.a": {"policy": '{"Action": ["a", "b"]}'}}
    real = {"aws_iam_role.b": {"policy": '{"Action":["b","a"]}'}}
    assert list(compare(ours, real)) == []


def test_difference_shows_both_values() -> None:
    ours = {"aws_vpc.this": {"cidr_block": "10.0.0.0/16"}}
    real = {"aws_vpc.this": {"cidr_block": "10.1.0.0/16"}}
    assert list(compare(ours, real)) == [
        Difference("aws_vpc", "cidr_block", "aws_vpc.this", "10.0.0.0/16", "10.1.0.0/16")
    ]


def test_resources_are_paired_by_similarity() -> None:
    ours = {"aws_subnet.x[0]": {"cidr": "a", "zone": "1"}, "aws_subnet.x[1]": {"cidr": "b", "zone": "2"}}
    real = {"aws_subnet.y[0]": {"cidr": "b", "zone": "2"}, "aws_subnet.y[1]": {"cidr": "a", "zone": "9"}}
    assert list(compare(ours, real)) == [Difference("aws_subnet", "zone", "aws_subnet.x[0]", "1", "9")]


def test_resource_on_only_one_side_is_a_difference() -> None:
    assert [d.argument for d in compare({"aws_eip.a": {"domain": "vpc"}}, {})] == ["only in stand-ins"]
    assert [d.argument for d in compare({}, {"aws_eip.a": {"domain": "vpc"}})] == ["only in real modules"]


def test_every_known_difference_has_a_reason() -> None:
    assert all(len(entry.reason) > 20 for entry in load())


def test_difference_without_a_reason_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "differences.yaml"
    file.write_text("- {type: aws_vpc, argument: tags, reason: ''}\n")
    with pytest.raises(ValueError, match="each entry needs type, argument and reason"):
        load(file)
