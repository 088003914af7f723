"""The API's reads and writes, each as the function's one statement."""

from dataclasses import dataclass

from checks.bench.growth.record import BUSY, EXPIRING, RARE


@dataclass(frozen=True)
class Operation:
    """An operation of the API as the function's one statement.

    Attributes:
        name: as the report shows it.
        statement: SQL, with the names of ``Record.parameters`` in braces.
    """

    name: str
    statement: str


OPERATIONS = [
    Operation("get_user", "SELECT pmp.get_user('{user}')"),
    Operation("get_user, as_of", "SELECT pmp.get_user('{user}', now())"),
    Operation("get_user, as_of, 10,000 events", f"SELECT pmp.get_user('{BUSY}', now())"),
    Operation("find_user", "SELECT pmp.find_user('{email}')"),
    Operation("lookup_user by phone", "SELECT pmp.lookup_user('phone', '{phone}', NULL, NULL, NULL, NULL, 51)"),
    Operation(
        "lookup_user by external id", "SELECT pmp.lookup_user('external:crm', '{email}', NULL, NULL, NULL, NULL, 51)"
    ),
    Operation("list_users of 51, first", "SELECT pmp.list_users(NULL, NULL, 51)"),
    Operation("list_users of 51, deep", "SELECT pmp.list_users({number}, {key}, 51)"),
    Operation("list_users of 501", "SELECT pmp.list_users(NULL, NULL, 501)"),
    Operation("list by a common choice, first", "SELECT pmp.list_users_by_choice(NULL, 51, '{common}', true)"),
    Operation("list by a common choice, deep", "SELECT pmp.list_users_by_choice({key}, 51, '{common}', true)"),
    Operation("list by a rare choice", f"SELECT pmp.list_users_by_choice(NULL, 51, '{RARE}', true)"),
    Operation("list by an expired choice", f"SELECT pmp.list_users_by_choice(NULL, 51, '{EXPIRING}', true)"),
    Operation("list_events of 51, first", "SELECT pmp.list_events(NULL, NULL, 51)"),
    Operation("list_events of 51, deep", "SELECT pmp.list_events({event_number}, {sequence}, 51)"),
    Operation("list_events of 501", "SELECT pmp.list_events(NULL, NULL, 501)"),
    Operation("list_user_events of 51", "SELECT pmp.list_user_events('{user}', NULL, NULL, 51)"),
    Operation(
        "check 1",
        """SELECT pmp.check_consents('[{{"user": {{"id": "{user}"}}, "consent": "{common}"}}]')""",
    ),
    Operation("check 1,000", "SELECT pmp.check_consents('{checks}')"),
    Operation("export_user", "SELECT pmp.export_user('{user}')"),
    Operation(
        "create_event, 2 choices", "SELECT pmp.create_event(gen_random_uuid(), '{user}', '{choices}', NULL, 'a')"
    ),
    Operation(
        "create_event by phone",
        "SELECT pmp.create_event_by_identifier("
        "gen_random_uuid(), 'phone', '{phone}', NULL, '{choices}', NULL, 'a', true)",
    ),
    Operation("create_user", "SELECT pmp.create_user(gen_random_uuid() || '@example.com', 'a')"),
]
