"""The comparison of ``make parity`` reports all differences and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from checks.parity import versions
from checks.parity.comparison import Difference, Known, compare, load
from checks.parity.graph import Graph
from ops.settings import ROOT


def graph(resources: dict[str, dict[str, Any]], owners: dict[int, tuple[str, str]] | None = None) -> Graph:
    return Graph(resources, owners or {})


def test_equal_resources_at_different_addresses_do_not_differ() -> None:
    ours = graph({"module.vpc.aws_vpc.this": {"cidr_block": "10.0.0.0/16", "tags": {}}})
    real = graph({"module.vpc.aws_vpc.this[0]": {"cidr_block": "10.0.0.0/16", "tags": None, "ipv6": ""}})
    assert compare(ours, real) == []


def test_policies_are_compared_as_json() -> None:
    ours = graph({"aws_iam_role.a": {"policy": '{"Action": ["a", "b"]}'}})
    real = graph({"aws_iam_role.b": {"policy": '{"Action":["b","a"]}'}})
    assert compare(ours, real) == []


def test_difference_shows_both_values() -> None:
    ours = graph({"aws_vpc.this": {"cidr_block": "10.0.0.0/16"}})
    real = graph({"aws_vpc.this": {"cidr_block": "10.1.0.0/16"}})
    assert compare(ours, real) == [Difference("aws_vpc", "cidr_block", "aws_vpc.this", "10.0.0.0/16", "10.1.0.0/16")]


def test_resources_are_paired_by_similarity() -> None:
    ours = graph({"aws_subnet.x[0]": {"cidr": "a", "zone": "1"}, "aws_subnet.x[1]": {"cidr": "b", "zone": "2"}})
    real = graph({"aws_subnet.y[0]": {"cidr": "b", "zone": "2"}, "aws_subnet.y[1]": {"cidr": "a", "zone": "9"}})
    assert compare(ours, real) == [Difference("aws_subnet", "zone", "aws_subnet.x[0]", "1", "9")]


def test_resource_on_only_one_side_is_a_difference() -> None:
    address = graph({"aws_eip.a": {"domain": "vpc"}})
    assert [d.argument for d in compare(address, graph({}))] == ["only in stand-ins"]
    assert [d.argument for d in compare(graph({}), address)] == ["only in real modules"]


def network(table_of_b: str) -> Graph:
    """Two subnets and two route tables; ``table_of_b`` is the token of the table that subnet b uses."""
    return graph(
        {
            "aws_subnet.a": {"cidr": "a"},
            "aws_subnet.b": {"cidr": "b"},
            "aws_route_table.a": {"tags": {"Name": "a"}},
            "aws_route_table.b": {"tags": {"Name": "b"}},
            "aws_route_table_association.x": {"subnet_id": "ref00001x", "route_table_id": "ref00003x"},
            "aws_route_table_association.y": {"subnet_id": "ref00002x", "route_table_id": table_of_b},
        },
        {
            1: ("aws_subnet.a", "id"),
            2: ("aws_subnet.b", "id"),
            3: ("aws_route_table.a", "id"),
            4: ("aws_route_table.b", "id"),
        },
    )


def test_equal_references_do_not_differ_though_their_ids_do() -> None:
    one = network("ref00004x")
    resources = json.loads(json.dumps(one.resources).replace("ref0000", "ref0001"))
    assert compare(one, Graph(resources, {10 + number: owner for number, owner in one.owners.items()})) == []


def test_wrong_reference_is_a_difference() -> None:
    assert compare(network("ref00004x"), network("ref00003x")) == [
        Difference(
            "aws_route_table_association",
            "route_table_id",
            "aws_route_table_association.y",
            "${aws_route_table.b.id}",
            "${aws_route_table.a.id}",
        )
    ]


def test_an_update_may_refer_to_what_it_does_not_change() -> None:
    owners = {1: ("aws_vpc.this", "id")}
    before = graph({"aws_vpc.this": {"cidr_block": "a"}}, owners), graph({"aws_vpc.that": {"cidr_block": "a"}}, {})
    update = {"aws_subnet.x": {"planned actions": "update", "vpc_id": "ref00001x"}}
    ours, real = graph(update, owners), graph(update, {1: ("aws_vpc.that", "id")})
    assert compare(ours, real, before) == []


def test_an_update_that_replaces_is_a_difference() -> None:
    ours = graph({"aws_subnet.x": {"planned actions": "update"}})
    real = graph({"aws_subnet.x": {"planned actions": "delete, create"}})
    assert [difference.argument for difference in compare(ours, real)] == ["planned actions"]


@pytest.mark.parametrize(
    ("stand_in", "real", "known"),
    [
        ("final-pmp-dev", None, True),
        ("final", None, False),
        ("final-pmp-dev", "final", False),
    ],
)
def test_a_listed_difference_matches_by_value(stand_in: str, real: str | None, known: bool) -> None:
    entry = Known("aws_db_instance", "final_snapshot_identifier", "final-pmp-*", None, "a reason")
    found = Difference("aws_db_instance", "final_snapshot_identifier", "module.x", stand_in, real)
    assert entry.matches(found) is known


def test_every_known_difference_has_a_reason() -> None:
    assert all(len(entry.reason) > 20 for entry in load())


def test_difference_without_a_reason_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "differences.yaml"
    file.write_text("- {type: aws_vpc, argument: tags, stand_in: 1, real: 2, reason: ''}\n")
    with pytest.raises(ValueError, match="each entry needs argument, real, reason, stand_in, type"):
        load(file)


def parity(*arguments: str) -> "subprocess.CompletedProcess[str]":
    # A name of its own for the registry's host would need a network of its own; the stand-ins' folder does as well.
    return subprocess.run(
        [sys.executable, "-m", "checks.parity", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PMP_MODULE_MIRROR": str(ROOT / "local/registry/modules")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_comparison_that_is_required_and_impossible_fails() -> None:
    skipped, required = parity(), parity("--required")
    assert (skipped.returncode, required.returncode) == (0, 1)
    assert "skipped: the real modules are missing" in skipped.stdout
    assert "error: a comparison is required, and none was made" in required.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modules: [", "is not YAML"),
        ("{}", "give 'modules' and 'providers'"),
        ("modules: {terraform-aws-modules/vpc/aws: 6}", "to a version in quotes"),
        ("module: {terraform-aws-modules/vpc/aws: '6.0.0'}", "give 'modules' and 'providers'"),
    ],
)
def test_versions_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "versions.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        versions.load(file)
    assert parity("--versions", str(file)).returncode == 1


def test_other_versions_are_written_into_the_tree(tmp_path: Path) -> None:
    folder = tmp_path / "modules/network"
    folder.mkdir(parents=True)
    call = 'module "vpc" {\n  source  = "terraform-aws-modules/vpc/aws"\n  version = "5.21.0"\n}\n'
    endpoints = call.replace("vpc/aws", "vpc/aws//modules/vpc-endpoints")
    provider = 'aws = {\n  source  = "hashicorp/aws"\n  version = "~> 5.100"\n}\n'
    (folder / "main.tf").write_text(call + endpoints + provider)
    wanted = versions.Versions({"terraform-aws-modules/vpc/aws": "6.6.0"}, {"hashicorp/aws": "~> 6.30"})
    wanted.apply(tmp_path)
    text = (folder / "main.tf").read_text()
    assert text.count('version = "6.6.0"') == 2
    assert 'version = "~> 6.30"' in text
    with pytest.raises(ValueError, match="uses terraform-aws-modules/eks/aws: correct its name"):
        versions.Versions({"terraform-aws-modules/eks/aws": "1.0.0"}, {}).apply(tmp_path)
