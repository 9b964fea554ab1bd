"""Subscriptions that change while the real program runs: followed at once, all or nothing, and nothing fires anew."""

import pytest

from router.broker.topology import OWN_EVENTS, queue_of
from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for

ANEW = "subscriptions reloaded"
MISTAKES = "invalid subscriptions; keeping the previous ones"


def file(folder, *entries):
    """Return a subscriptions file: the audit, and *entries*: name, on, shell code."""
    lines = ["version: 1", "subscriptions:", '  - {name: audit, on: "gpfs.#", log: {}}']
    for name, on, code in entries:
        lines += [f"  - name: {name}", f"    on: {on}", f"    run: {{command: [sh, -c, '{code}'], timeout: 20s}}"]
    return "\n".join(lines).replace("FOLDER", str(folder)) + "\n"


def effect(word="act"):
    return f'echo "$CLUSTERBUS_EVENT_ID" >> FOLDER/{word}'


def effects(folder, word="act"):
    path = folder / word
    return path.read_text().split() if path.exists() else []


def disk():
    return make_event(category="disk", type="gpfs.diskFailure")


@pytest.fixture
def program(vhost_url, tmp_path):
    """A function that starts `clusterbus consume` over a file of these entries."""
    made = []

    def start(*entries):
        program = Program(vhost_url, tmp_path, file(tmp_path, *entries))
        made.append(program)
        return program.start("audit", *(each[0] for each in entries))

    yield start
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def bound(rabbit_admin, vhost):
    """A function that waits until a subscription has these patterns."""

    def wait(name, *patterns):
        def found():
            bindings = rabbit_admin.call("GET", "bindings", vhost, "e", OWN_EVENTS, "q", queue_of(name))
            return {each["routing_key"] for each in bindings} == set(patterns)

        wait_for(found, 20, f"{name} bound by {patterns}")

    return wait


@pytest.mark.parametrize("how", ["SIGHUP", "another file in its place"])
def test_what_changes_is_followed_and_what_was_done_is_not_done_again(program, bound, vhost_url, tmp_path, tap, how):
    running = program(("act", "quota", effect()))
    first, quota, failure = make_event(), make_event(), disk()
    publish(vhost_url, [first], times=2)
    before = running.wait_rows(2)
    changed = file(tmp_path, ("act", "disk", effect()))

    if how == "SIGHUP":
        running.file.write_text(changed)
        running.hang_up()
    else:
        running.replace(changed)
    told = running.wait_logged(ANEW)
    bound("act", "gpfs.*.disk.*.*.*")
    publish(vhost_url, [quota, failure])
    rows = running.wait_rows(5)
    wait_for(lambda: tap.count(queue_of("act")) == 0 == tap.count(queue_of("audit")), 10, "empty queues")
    assert running.running.stop() == 0

    assert effects(tmp_path) == [first.id, failure.id]
    assert {row.event_id for row in rows if row.subscription == "audit"} == {first.id, quota.id, failure.id}
    assert len(rows) == 5
    assert told[0]["changed"] == ["act"]
    assert {row.digest for row in rows if row.event_id != first.id} == {told[0]["digest"]}
    assert told[0]["digest"] not in {row.digest for row in before}
    assert tap.count(queue_of("act")) == 0


def test_while_the_file_has_mistakes_the_old_one_holds_and_nothing_is_lost(program, vhost_url, tmp_path):
    running = program(("act", "quota", effect()))
    good = running.file.read_text()
    mistakes = [good.replace("on: quota", "on: quotta"), good + "  - {name: act", good.replace("sh, -c", "[]")]
    mistakes.append(good.replace("version: 1", "version: 1\nsubscription: []"))
    events = []

    for count, text in enumerate(mistakes, start=1):
        running.replace(text)
        running.wait_logged(MISTAKES, count)
        events.append(make_event())
        publish(vhost_url, events[-1:])
    told = [" ".join(each["mistakes"]) for each in running.logged(MISTAKES)]
    rows = running.wait_rows(2 * len(mistakes))
    running.replace(good.replace("on: quota", "on: quota\n    order_by: node"))
    (refused,) = running.wait_logged("cannot apply the subscriptions; keeping the previous ones")
    running.replace(good + "  # as before\n")
    same = running.wait_logged("nothing changed")
    publish(vhost_url, [last := make_event()])
    running.wait_rows(2 * len(mistakes) + 2)

    assert "quotta" in told[0]
    assert "did you mean" in told[0]
    assert all(str(running.file) in each for each in told)
    assert "order_by" in refused["reason"]
    assert {row.digest for row in rows} == {same[-1]["digest"]}
    assert effects(tmp_path) == [each.id for each in (*events, last)]


def test_what_is_under_way_ends_as_it_began_and_what_follows_is_the_new_ones(program, vhost_url, tmp_path, tap):
    slow = f"echo >> FOLDER/began; while [ ! -e FOLDER/go ]; do sleep 0.02; done; {effect('old')}"
    running = program(("act", "quota", slow))
    first, waiting, second = make_event(), make_event(), make_event()
    publish(vhost_url, [first])
    wait_for((tmp_path / "began").exists, 20, "the first command")
    publish(vhost_url, [waiting])
    wait_for(lambda: tap.count(queue_of("act")) == 0, 10, "the second delivery is with the consumer")

    running.replace(file(tmp_path, ("act", "quota", effect("new"))))
    (told,) = running.wait_logged(ANEW)
    publish(vhost_url, [second])
    running.wait_rows(1, subscription="act")
    new_meanwhile = effects(tmp_path, "new")
    (tmp_path / "go").touch()
    rows = {row.event_id: row for row in running.wait_rows(3, subscription="act")}
    assert running.running.stop() == 0

    assert second.id in new_meanwhile
    assert first.id not in new_meanwhile
    assert sorted(effects(tmp_path, "old") + effects(tmp_path, "new")) == sorted(
        each.id for each in (first, waiting, second)
    )
    assert rows[second.id].digest == told["digest"] != rows[first.id].digest
    assert effects(tmp_path, "old").count(first.id) == 1
    assert tap.count(queue_of("act")) == 0


@pytest.mark.long
def test_what_is_owed_to_a_removed_subscription_waits_until_it_is_back_or_removed(program, vhost_url, tmp_path, tap):
    running = program(("act", "quota", effect()), ("other", "quota", effect("other")))
    both, other = running.file.read_text(), file(tmp_path, ("other", "quota", effect("other")))
    running.replace(other)
    (told,) = running.wait_logged(ANEW)
    event = make_event()

    publish(vhost_url, [event])
    running.wait_rows(1, subscription="other")
    wait_for(lambda: tap.count(queue_of("act")) == 1, 10, "the event waits")
    refused = running.command("subscriptions", "remove", "act", code=1)
    meanwhile = effects(tmp_path)
    running.replace(both)
    running.wait_logged(ANEW, 2)
    running.wait_rows(1, subscription="act")
    done = effects(tmp_path)
    running.replace(other)
    running.wait_logged(ANEW, 3)
    running.command("subscriptions", "remove", "act", "--json")

    assert told["removed"] == ["act"]
    assert (refused, meanwhile, done) == ([], [], [event.id])
    assert not tap.exists(queue_of("act"))
