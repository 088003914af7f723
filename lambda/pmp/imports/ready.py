"""Mappings that ship with PMP, for the published file shapes of other systems.

They name the consent ``email_notifications``. For other consents, read one with
``GET /v1/mappings/{id}``, change it, and store it with ``PUT`` under the same or another id.

Only a choice that somebody made is taken: "not opted out" does not mean consent. Sources:

- Mailchimp, audience export, one file each for subscribed, unsubscribed and cleaned contacts:
  https://mailchimp.com/help/view-export-contacts/
- HubSpot, "Export unsubscribes and bounces":
  https://knowledge.hubspot.com/articles/kcs_article/contacts/what-do-the-columns-mean-in-csv-i-receive-when-i-export-unsubscribes-and-bounces
- Salesforce, contacts or leads by Data Loader or Bulk API:
  https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contact.htm
- Braze, users by segment or CSV: https://www.braze.com/docs/api/endpoints/export/user_data/post_users_segment/
- Klaviyo, profiles of a list or segment: https://help.klaviyo.com/hc/en-us/articles/360043841811
- OneTrust, consent receipts: https://developer.onetrust.com/onetrust/reference/createbulkconsentreceiptusingpost
- Didomi, batch import: https://developers.didomi.io/integrations/batch-import
- Didomi, batch export: https://docs.didomi.io/integrations/generic-integrations/batch-export-content
"""

from typing import Any

_EMAIL = "email_notifications"


def _values(meanings: dict[str, bool | None]) -> list[dict[str, Any]]:
    return [{"value": value, "enabled": enabled} for value, enabled in meanings.items()]


READY: dict[str, dict[str, Any]] = {
    "mailchimp": {
        "description": "Mailchimp's audience export: subscribed, unsubscribed or cleaned contacts",
        "user": {"email": "Email Address"},
        "occurred_at": {"from": ["UNSUB_TIME", "CLEAN_TIME", "CONFIRM_TIME", "OPTIN_TIME"], "zone": "UTC"},
        "consents": [
            {"consent": _EMAIL, "from": "UNSUB_TIME", "present": False},
            {"consent": _EMAIL, "from": "CLEAN_TIME", "present": False},
            {"consent": _EMAIL, "from": "CONFIRM_TIME", "present": True},
        ],
        "ignored": ["*"],
    },
    "hubspot": {
        "description": "HubSpot's export of unsubscribes and bounces; it has no dates, so declare occurred_at",
        "user": {"email": "Email"},
        "consents": [
            {"consent": _EMAIL, "from": "Portal Unsubscribe", "values": _values({"TRUE": False})},
            {"consent": _EMAIL, "from": "Portal Spam Report", "values": _values({"TRUE": False})},
        ],
        "ignored": ["*"],
    },
    "salesforce": {
        "description": "Contacts or leads of Salesforce with HasOptedOutOfEmail, whose true is an opt-out",
        "user": {"email": "Email"},
        "occurred_at": {"from": ["LastModifiedDate", "SystemModstamp"]},
        "consents": [
            {
                "consent": _EMAIL,
                "from": "HasOptedOutOfEmail",
                "values": _values({"true": False, "1": False, "false": None, "0": None}),
            }
        ],
        "ignored": ["*"],
    },
    "braze": {
        "description": "Users of Braze with email_subscribe; its default, subscribed, tells nothing",
        "user": {"email": "email"},
        "occurred_at": {"from": ["email_unsubscribed_at", "email_opted_in_at"]},
        "consents": [
            {
                "consent": _EMAIL,
                "from": "email_subscribe",
                "values": _values({"opted_in": True, "unsubscribed": False, "subscribed": None}),
            }
        ],
        "ignored": ["*"],
    },
    "klaviyo": {
        "description": "Profiles of Klaviyo with their consent to email",
        "user": {"email": "Email"},
        "occurred_at": {"from": ["Email Marketing Consent Timestamp"], "zone": "UTC"},
        "consents": [
            {
                "consent": _EMAIL,
                "from": "Email Marketing Consent",
                "values": _values({"SUBSCRIBED": True, "UNSUBSCRIBED": False, "NEVER_SUBSCRIBED": None}),
            }
        ],
        "ignored": ["*"],
    },
    "onetrust_receipts": {
        "description": "Consent receipts of OneTrust; list the purposes' ids under names",
        "user": {"email": "/identifier"},
        "occurred_at": {"from": ["/interactionDate"], "zone": "UTC"},
        "consents": [
            {
                "each": "/purposes",
                "consent": "/Id",
                "from": "/TransactionType",
                "values": _values(
                    {
                        "CONFIRMED": True,
                        "EXTEND": True,
                        "OPT_OUT": False,
                        "HARD_OPT_OUT": False,
                        "WITHDRAWN": False,
                        "NOTGIVEN": False,
                        "NO_CHOICE": None,
                        "PENDING": None,
                        "EXPIRED": None,
                        "CANCEL": None,
                        "CHANGE_PREFERENCES": None,
                    }
                ),
            }
        ],
    },
    "didomi_import": {
        "description": "Events in the form of Didomi's batch import, whose users' ids are addresses",
        "event_id": "/id",
        "user": {"email": "/user/organization_user_id"},
        "occurred_at": {"from": ["/created_at"]},
        "consents": [{"each": "/consents/purposes", "consent": "/id", "from": "/enabled"}],
    },
    "didomi_export": {
        "description": "Users of Didomi's batch export, whose ids are addresses: the last choice for each purpose",
        "user": {"email": "/user/organization_user_id"},
        "occurred_at": {"from": ["/user/updated_at", "/user/created_at"]},
        "consents": [{"each": "/user/consents/purposes", "consent": "/id", "from": "/enabled"}],
    },
    "opt_out_hashes": {
        "description": "A list of opt-outs: the SHA-256 of each address in lower case; declare occurred_at",
        "user": {"email_sha256": "sha256"},
        "consents": [{"consent": _EMAIL, "enabled": False}],
        "ignored": ["*"],
    },
}
