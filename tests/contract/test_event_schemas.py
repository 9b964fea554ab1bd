"""Schemas of events, outcomes and letters: what we send and print adheres to them; any web server can serve them."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.config.event_samples import Samples
from consumers.config.registrations import Registrations
from consumers.dead_letters.keeper import Keeper
from consumers.deliveries import Report
from router.cluster.callbacks.gpfs.refusals import Remembered
from router.model.catalogue import Catalogues, EventType
from router.settings.models import Settings
from router.settings.sections.router_section import RouterSettings
from router.settings.site_catalogue import catalogues
from tests.adherence import ENVELOPE, check
from tests.consuming import make_event, make_subscription
from tests.contract.test_cloudevents_sdks import EVENTS as EXTREME
from tests.contract.test_real_events import EVENTS as OF_GPFS
from tests.contract.test_real_events import callbacks, cluster, happened
from tests.engines import Bench, TellVerb
from tests.javascript_packages import SOURCES, JavaScript

SHIPPED = Catalogues.shipped()
URL = "https://hub.example.com/schemas"


def valid(document: Any, schema: dict[str, Any]) -> bool:
    return Draft202012Validator(schema).is_valid(document)


def printed(*words: str, **environment: str) -> Any:
    done = CliRunner().invoke(app, ["schema", *words], env=environment)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["schema", *words])
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize("event_type", SHIPPED.all(), ids=lambda each: each.type)
def test_samples_adhere_to_their_schemas(event_type: EventType) -> None:
    kind = Samples(Registrations(SHIPPED, Settings(), Remembered())).of(event_type)

    for each in kind.variants:
        check(each)
        assert each.dataschema, each.malformed


@pytest.mark.parametrize("undefined", ["word", "empty", "literal"])
def test_events_of_the_simulator_adhere_to_their_schemas(undefined: str) -> None:
    state = callbacks(Settings(), Remembered(), cluster(undefined))
    gpfs = SHIPPED["gpfs"]
    found = 0

    for event_type in OF_GPFS:
        for absent in ((), event_type.optional):
            own = [each for each in event_type.variables if each not in (*gpfs.common, *absent)]
            event = happened(state, event_type, {each: gpfs.variables[each].example for each in own})
            if event is not None:
                check(event)
                found += event.dataschema is not None

    assert found > len(OF_GPFS)


def test_extreme_events_adhere_to_their_schemas_or_name_none() -> None:
    for each in EXTREME:
        check(each)


def test_the_envelope_is_open_and_what_is_missing_is_missed() -> None:
    message = json.loads(make_event().to_json())

    assert ENVELOPE.is_valid({**message, "later": "x"})
    for name in ("specversion", "id", "type", "source", "time", "data"):
        assert not ENVELOPE.is_valid({key: each for key, each in message.items() if key != name}), name
    assert not ENVELOPE.is_valid({**message, "subject": None})
    assert not ENVELOPE.is_valid({**message, "severity": "terrible"})


def test_the_schema_of_an_event_type_is_typed() -> None:
    schema = printed("event", "gpfs.softQuotaExceeded")

    assert schema == printed("event", "softQuotaExceeded")
    assert schema["$id"] == "urn:clusterbus:gpfs:softQuotaExceeded:1"
    assert valid({"blockUsage": 5, "fsName": "gpfs1", "upNodes": ["n1"], "new": {"a": 1}, "blockLimit": None}, schema)
    for wrong in ({"blockUsage": "5"}, {"blockUsage": 5.5}, {"fsName": 1}, {"upNodes": "n1"}, {"upNodes": [1]}, []):
        assert not valid(wrong, schema), wrong


def test_a_folder_of_all_schemas_can_be_served_as_it_is(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"router: {{schemas: {URL}/}}\n")
    folder = tmp_path / "www" / "schemas"
    site = catalogues(Settings(router=RouterSettings(schemas=f"{URL}/")))

    done = CliRunner().invoke(app, ["--settings", str(settings), "schema", "--all", "--to", str(folder)])

    assert done.exit_code == 0, done.output
    files = {str(each.relative_to(folder)): json.loads(each.read_text()) for each in folder.rglob("*.json")}
    assert done.output == f"{len(files)} schemas in {folder}\n"
    assert {path: schema["$id"] for path, schema in files.items()} == {path: f"{URL}/{path}" for path in files}
    assert {"event/1.json", "outcome/1.json", "letter/1.json", "gpfs.softQuotaExceeded/1.json"} <= files.keys()
    assert {f"{URL}/{each}" for each in files} >= {site[each.source].schema_of(each) for each in site.all()}
    for each in (*folder.rglob("*"), folder, folder.parent):
        assert each.stat().st_mode & 0o777 == (0o755 if each.is_dir() else 0o644), "the web server is another user"
    for schema in files.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("place", ["", "schemas"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / place

    done = CliRunner().invoke(app, ["schema", "--all", "--to", str(folder)])

    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (1, True)
    assert re.fullmatch(f"(clusterbus: )?{tmp_path}/file.*: (File exists|Not a directory)\n", done.output)


def test_older_versions_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "gpfs.mount").mkdir()
    (tmp_path / "gpfs.mount" / "0.json").write_text("{}")

    CliRunner().invoke(app, ["schema", "--all", "--to", str(tmp_path)])

    assert sorted(each.name for each in (tmp_path / "gpfs.mount").iterdir()) == ["0.json", "1.json"]


def test_outcomes_and_letters_are_printed_as_their_schemas_say(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    bench = Bench(url)
    bench.handler = lambda delivery: (
        Report(failure="exit:1", reason="exit code 1") if delivery.attempt < 9 else Report()
    )
    bench.start(make_subscription("act", TellVerb(), retry={"attempts": 2}))
    Keeper(bench.broker, bench.store, bench.clock).start()
    bench.publish(make_event())
    bench.broker.advance(timedelta(minutes=5))
    bench.store.close()
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"consumers: {{store: {url}}}\n")

    def lines(*words: str) -> list[Any]:
        done = CliRunner().invoke(app, ["--settings", str(settings), *words, "--json"])
        assert done.exit_code == 0, done.output
        return [json.loads(each) for each in done.output.splitlines()]

    attempts, letters = lines("deliveries"), lines("dead", "list")
    shown = [letter for each in letters for letter in lines("dead", "show", each["id"])]

    assert [each["outcome"] for each in attempts] == ["dead", "retry"]
    assert len(shown) == 1
    for schema, found in ((printed("outcome"), attempts), (printed("letter"), shown)):
        Draft202012Validator.check_schema(schema)
        for each in found:
            Draft202012Validator(schema, format_checker=FormatChecker()).validate(each)
            assert each.keys() == schema["properties"].keys()


def test_what_cannot_be_meant_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "use one of subscriptions, actions" in refused("nonsense")
    assert "did you mean softQuotaExceeded" in refused("event", "gpfs.softQuotaExceed")
    assert "only `schema event` takes an event type" in refused("settings", "gpfs.mount")
    assert "--all --to FOLDER" in refused("--all")
    assert "--all --to FOLDER" in refused("event", "--to", str(tmp_path))
    assert "subscriptions, actions" in refused()


@pytest.mark.long
@pytest.mark.parametrize("wire", ["structured", "binary"])
def test_the_official_parser_accepts_the_asyncapi_document(wire: str, javascript: JavaScript, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"router: {{wire: {wire}, schemas: {URL}}}\nbroker: {{url: 'amqps://u:secret@mq1/gp%2Ffs amqp://u:p@mq2:5673'}}\n"
    )
    done = CliRunner().invoke(app, ["--settings", str(settings), "schema", "asyncapi"])
    file = tmp_path / "asyncapi.json"
    file.write_text(done.output)

    document = json.loads(done.output)
    found = json.loads(javascript.run(SOURCES / "read_asyncapi.mjs", str(file)))

    assert found["wrong"] == []
    assert (found["version"], found["channels"]) == ("3.0.0", ["clusterbus.events"])
    assert set(found["messages"]) == {each.type for each in SHIPPED.all()} - {"clusterbus.heartbeat"}
    assert "secret" not in done.output
    assert [(each["protocol"], each["host"], each.get("pathname")) for each in document["servers"].values()] == [
        ("amqps", "mq1:5671", "/gp%2Ffs"),
        ("amqp", "mq2:5673", None),
    ]
    message = document["components"]["messages"]["gpfs.mount"]
    assert ("headers" in message) == (wire == "binary")


@pytest.mark.long
def test_the_document_of_a_service_has_its_queue_and_its_events_and_nothing_else(
    javascript: JavaScript, tmp_path: Path
) -> None:
    settings, services = tmp_path / "settings.yaml", tmp_path / "services"
    services.mkdir()
    settings.write_text(f"services: {{folder: {services}}}\n")
    (services / "all.yaml").write_text(
        "version: 1\nservices:\n"
        "  - {name: tickets, on: [quota, diskFailure], severity: warning, clusters: [prod], owner: Storage team}\n"
        "  - {name: strange, on: unknown}\n"
        "  - {name: own, on: 'clusterbus.*.relay.#'}\n"
    )
    files = []
    for name in ("tickets", "strange", "own"):
        done = CliRunner().invoke(app, ["--settings", str(settings), "schema", "asyncapi", "--service", name])
        assert done.exit_code == 0, done.output
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(done.output)
    missing = CliRunner().invoke(app, ["--settings", str(settings), "schema", "asyncapi", "--service", "ticket"])

    printed = javascript.run(SOURCES / "read_asyncapi.mjs", *map(str, files))
    tickets, strange, own = (json.loads(each) for each in printed.splitlines())
    document = json.loads(files[0].read_text())

    quota = {
        each.type for each in SHIPPED.all() if each.category == "quota" and each.severity not in ("info", "notice")
    }
    assert tickets["wrong"] == strange["wrong"] == own["wrong"] == []
    assert tickets["channels"] == ["clusterbus.svc.tickets"]
    assert set(tickets["messages"]) == quota | {"gpfs.diskFailure"}
    assert document["components"]["schemas"].keys() == {"event", *tickets["messages"]}
    assert document["info"]["contact"] == {"name": "Storage team"}
    assert [each["action"] for each in document["operations"].values()] == ["receive"]
    assert document["channels"]["tickets"]["bindings"]["amqp"]["queue"]["name"] == "clusterbus.svc.tickets"
    assert strange["messages"] == []
    assert sorted(own["messages"]) == ["clusterbus.eventsLost", "clusterbus.recordUnreadable"], "no heartbeats"
    assert (missing.exit_code, "did you mean tickets?" in missing.output) == (2, True)
    assert "only `schema asyncapi`" in refused("event", "--service", "tickets")


def test_messages_adhere_to_the_asyncapi_document() -> None:
    document = printed("asyncapi")

    for event_type in SHIPPED.all():
        if event_type.name == "heartbeat":
            continue
        kind = Samples(Registrations(SHIPPED, Settings(), Remembered())).of(event_type)
        payload = document["components"]["messages"][event_type.type]["payload"]
        whole = Draft202012Validator({**payload, "components": document["components"]})
        message = json.loads(kind.sample.to_json())
        assert [each.message for each in whole.iter_errors(message)] == []
        assert not whole.is_valid({**message, "type": "other.type"})
