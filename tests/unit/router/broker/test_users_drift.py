"""What differs between the users that are wanted and those that are there."""

from pathlib import Path

import pytest

from router.broker.topology import EVENTS, FILTER, INGRESS, OWN_EVENTS, base, event_exchanges
from router.broker.users.drift import Change, Grants, commands, departures, import_expression, in_turn, nodes_there
from router.broker.users.permissions import Role, User, password_hash
from router.errors import SettingsError

NSD01, NSD02 = User("nsd01", Role.NODE, "one"), User("nsd02", Role.NODE, "two")
ROUTER = User("clusterbus-router", Role.ROUTER, "three")


def grants(*users: User, cluster: str | None = "prod") -> Grants:
    return Grants(users or (NSD01, NSD02, ROUTER), "bus", cluster)


def there(*users: User, cluster: str | None = "prod") -> dict:
    return grants(*users, cluster=cluster).definitions()


def change(user: str, *what: str) -> Change:
    return Change(user, "change", what)


def test_who_is_not_there_is_added_and_who_is_right_is_kept():
    assert grants().changes(there(NSD01)) == [
        Change("nsd01", "keep"),
        Change("nsd02", "add"),
        Change("clusterbus-router", "add"),
    ]


def test_each_thing_that_differs_is_named():
    present = there()
    present["users"][0]["limits"] = {}
    present["users"][1]["password_hash"] = password_hash("another", b"salt")
    present["permissions"][2]["configure"] = ".*"
    present["topic_permissions"].clear()

    assert grants().changes(present) == [
        change("nsd01", "limits", "topics"),
        change("nsd02", "password", "topics"),
        change("clusterbus-router", "rights"),
    ]


@pytest.mark.parametrize("exchange", [INGRESS, "clusterbus.events"])
def test_a_row_too_many_differs_as_one_too_few_does(exchange: str):
    present = there(NSD01)
    present["topic_permissions"].append(
        {"user": "nsd01", "vhost": "bus", "exchange": exchange, "write": ".*", "read": ".*"}
    )

    assert grants(NSD01).changes(present) == [change("nsd01", "topics")]


def test_rights_and_rows_in_another_virtual_host_are_not_those_that_count():
    present = there(NSD01)
    for each in (*present["permissions"], *present["topic_permissions"]):
        each["vhost"] = "test"

    assert grants(NSD01).changes(present) == [change("nsd01", "topics", "rights")]
    assert grants(NSD01).unguarded(present) == ["nsd01"]
    assert "rabbitmqctl clear_permissions -p test nsd01" in grants(NSD01).elsewhere(present)[0]


def test_a_password_that_fits_is_kept_with_the_salt_that_the_broker_gave_it():
    present = there(NSD01)
    theirs = present["users"][0]["password_hash"] = password_hash("one", b"salt")
    present["permissions"].clear()

    steps = grants(NSD01).steps(present)

    assert grants(NSD01).changes(present) == [change("nsd01", "rights")]
    assert steps.rows["users"][0]["password_hash"] == theirs


def test_a_certificates_user_that_has_a_password_loses_it():
    bare = User("nsd01", Role.NODE)

    assert grants(bare).changes(there(NSD01)) == [change("nsd01", "password")]
    assert grants(bare).changes(there(bare)) == [Change("nsd01", "keep")]


def test_exchanges_are_imported_before_rows_and_rows_before_rights():
    steps = grants().steps({})

    assert [set(each) for each in steps] == [
        {"vhosts", "exchanges"},
        {"users", "topic_permissions"},
        {"permissions"},
    ]
    assert [each["name"] for each in steps.exchanges["exchanges"]] == [INGRESS]
    assert steps.exchanges["vhosts"] == [{"name": "bus"}]
    assert len(steps.rights["permissions"]) == 3


def test_what_is_there_of_virtual_host_and_exchanges_is_not_imported_again():
    present = {
        "vhosts": [{"name": "bus", "metadata": {"tags": ["ours"]}}],
        "exchanges": [{"name": INGRESS, "vhost": "bus", "type": "topic"}],
    }

    assert grants().steps(present).exchanges == {}
    assert grants().lacking(present | {"exchanges": [{"name": INGRESS, "vhost": "/", "type": "topic"}]}) == [INGRESS]


def test_exchanges_are_those_of_the_topology():
    consumer = User("clusterbus-consumer", Role.CONSUMER)
    wanted = {each.name: each for each in base().exchanges}

    found = there(NSD01, consumer)["exchanges"]

    assert {each["name"] for each in found} == {INGRESS, *(each.name for each in event_exchanges().exchanges)}
    for each in found:
        assert (each["type"], each["arguments"]) == (wanted[each["name"]].kind, wanted[each["name"]].arguments)


@pytest.mark.parametrize("user", [NSD01, User("clusterbus-consumer", Role.CONSUMER)], ids=["node", "consumer"])
def test_who_has_rights_and_no_row_has_none_until_the_row_is_there(user: User):
    present = there(user)
    present["topic_permissions"].clear()

    steps = grants(user).steps(present)

    assert steps.exchanges["permissions"] == [
        {"user": user.name, "vhost": "bus", "configure": "^$", "write": "^$", "read": "^$"}
    ]
    assert grants(user).unguarded(present) == [user.name]


def test_a_row_that_only_differs_takes_nobodys_rights():
    assert "permissions" not in grants(NSD01).steps(there(NSD01, cluster="test")).exchanges


def test_an_exchange_of_another_kind_is_named_since_rows_have_no_effect_there():
    present = there(NSD01)
    present["exchanges"][0]["type"] = "fanout"

    assert "clusterbus.ingress exists as a fanout exchange" in grants(NSD01).objections(present)[0]
    assert grants(ROUTER).objections(present) == []


def test_administrators_are_nobody_of_ours():
    present = there(NSD01)
    present["users"][0]["tags"] = ["administrator"]

    assert "nsd01 exists with the tags administrator" in grants().objections(present)[0]
    assert grants().objections(there()) == []


def test_where_the_exchange_of_our_own_queues_is_imported_events_reach_it():
    consumer = User("clusterbus-consumer", Role.CONSUMER)

    first, last = in_turn(grants(consumer).steps({}).exchanges)

    assert [each["name"] for each in first["exchanges"]] == [EVENTS, FILTER]
    assert [(each["source"], each["destination"]) for each in first["bindings"]] == [(EVENTS, FILTER), (FILTER, EVENTS)]
    assert [each["name"] for each in last["exchanges"]] == [OWN_EVENTS]
    assert in_turn(grants(consumer).steps(there(consumer)).exchanges) == []


def test_nodes_that_left_are_known_by_their_rights_and_others_are_left_alone():
    present = there()

    assert nodes_there(present, "bus") == nodes_there(present, "bus", "prod") == {"nsd01", "nsd02"}
    assert nodes_there(present, "bus", "test") == nodes_there(present, "/") == set()
    assert departures(["nsd02", "nsd09", "clusterbus-router"], present, "bus") == (
        [Change("nsd02", "remove"), Change("nsd09", "gone")],
        ["clusterbus-router"],
    )


def test_commands_read_passwords_from_files_and_give_no_rights_before_rows():
    lines = commands(
        grants(NSD01, ROUTER), {"nsd01": Path("/s/o me/password"), ROUTER.name: Path("/r")}, ["rabbitmqctl"]
    )

    assert lines == [
        "rabbitmqctl list_vhosts --quiet | grep -qxF -- bus || rabbitmqctl add_vhost bus",
        f"printf %s 'ok = {import_expression({'exchanges': there(NSD01)['exchanges']})}' | rabbitmqctl eval",
        "rabbitmqctl add_user nsd01 < '/s/o me/password' || rabbitmqctl change_password nsd01 < '/s/o me/password'",
        """rabbitmqctl set_user_limits nsd01 '{"max-connections": 4, "max-channels": 8}'""",
        (
            "rabbitmqctl set_topic_permissions -p bus nsd01 clusterbus.ingress"
            r" '^[A-Za-z0-9_-]+\.prod\.[A-Za-z0-9_-]+\.nsd01$' '^$'"
            r" && rabbitmqctl set_permissions -p bus nsd01 '^$' '^(clusterbus\.ingress)$' '^$'"
        ),
        "rabbitmqctl add_user clusterbus-router < /r || rabbitmqctl change_password clusterbus-router < /r",
        (
            "rabbitmqctl set_permissions -p bus clusterbus-router '^$'"
            r" '^(clusterbus\.events|clusterbus\.events\.own|clusterbus\.rejected|clusterbus\.history"
            r"|clusterbus\.ingress\.[^.]+)$'"
            r" '^(clusterbus\.ingress|clusterbus\.events\.own|clusterbus\.ingress\.[^.]+"
            r"|clusterbus\.svc\.[^.]+(\.[a-z]+)?)$'"
        ),
    ]


@pytest.mark.parametrize("name", ["nsd01.example", "n;id", "$(id)", ".*", "", "a" * 64])
def test_names_that_are_no_words_make_no_commands(name: str):
    with pytest.raises(SettingsError, match="is not a valid name"):
        commands(grants(User(name, Role.NODE)), {}, ["rabbitmqctl"])


def test_the_page_shows_the_commands_as_they_are():
    page = (Path(__file__).parents[4] / "router" / "broker" / "README.md").read_text()
    shown = page.partition("<!-- commands -->\n```\n")[2].partition("\n```\n<!-- /commands -->")[0]
    file = Path("/etc/clusterbus/secrets/nodes/nsd01/password")

    assert shown.splitlines() == commands(grants(NSD01), {"nsd01": file}, ["rabbitmqctl"])
