"""Subscriptions that are due regularly, as they are written in files."""

import pytest

from consumers.subscriptions import validation
from router.model.catalogue import Catalogues

CATALOGUES = Catalogues.shipped()


def checked(folder, entry):
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {entry}\n")
    return validation.check(file, CATALOGUES)


def test_a_timer_has_events_of_its_own_and_templates_read_when_it_was_due(tmp_path):
    report = checked(tmp_path, '{name: tidy, every: 1h, run: {command: [/bin/echo, "{{ data.due }}"]}}')

    assert report.mistakes == ()
    (found,) = report.subscriptions.subscriptions
    assert found.patterns == ("clusterbus.*.timer.timerDue.tidy.*",)
    assert found.every.text == "every 1h"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: a, every: 1h, on: quota, log: {}}", "remove `on`"),
        ("{name: a, every: soon, log: {}}", "'soon' is no interval: write one, such as 1h, or {at: '06:00'"),
        ("{name: a, every: 0 6 * * 1, log: {}}", "or {at: '06:00', weekdays: monday}"),
        ("{name: a, every: 06:00, log: {}}", "'06:00' is no interval"),
        ("{name: a, log: {}}", "on: is missing"),
        ("{name: a, on: quota, delay: {wait: 1m, unless: closed}, call: a:b}", "only an alert may be over by then"),
        ('{name: a, every: 1h, run: {command: [/bin/echo, "{{ data.fsName }}"]}}', "timerDue cannot have data.fsName"),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path, entry, said):
    assert said in "\n".join(map(str, checked(tmp_path, entry).mistakes))
