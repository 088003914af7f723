"""Answers that spare the provider its waits, tested in this process."""

import re

import pytest
from ministack.services import route53

from local.ministack import waits

ZONE = b"""<CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">
<Name>waits.example.com</Name><CallerReference>%d</CallerReference></CreateHostedZoneRequest>"""
RECORD = b"""<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Changes>
<Change><Action>UPSERT</Action><ResourceRecordSet><Name>a.waits.example.com</Name><Type>A</Type><TTL>60</TTL>
<ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change>
</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_create_hosted_zone", "_change_resource_record_sets"):
        monkeypatch.setattr(route53, name, getattr(route53, name))
    waits.install()


def test_a_new_zone_and_record_name_no_change_to_wait_for() -> None:
    status, _, body = route53._create_hosted_zone(ZONE % 1, {})
    assert status == 201
    assert b"ChangeInfo" not in body
    found = re.search(r"<Id>/hostedzone/(\w+)</Id>", body.decode())
    assert found
    identifier = found[1]
    status, _, body = route53._change_resource_record_sets(identifier, RECORD)
    assert status == 200
    assert b"ChangeInfo" not in body
    _, _, body = route53._list_resource_record_sets(identifier, {})
    assert b"192.0.2.1" in body


def test_an_error_stays_as_it_is() -> None:
    status, _, body = route53._change_resource_record_sets("Z0", RECORD)
    assert status == 404
    assert b"NoSuchHostedZone" in body
