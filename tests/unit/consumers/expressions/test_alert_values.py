"""The name `alert` of filters and templates."""

from datetime import timedelta

import pytest

from consumers.errors import FilterError, TemplateError
from consumers.expressions.filters import Filter
from consumers.expressions.templates import Template
from consumers.expressions.values import alert_values
from tests.alerts import change
from tests.consuming import make_event


@pytest.fixture(autouse=True)
def _zone(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")


def test_a_filter_reads_the_parts_of_an_alert_with_its_age_as_a_duration():
    opened = change("alertReminded", since="2026-11-20T12:00:00Z", time="2026-11-20T15:00:00Z")

    asked = Filter('alert.rule == "soft-quota" && alert.age > duration("2h") && alert.about.fsName == "gpfs1"')

    assert asked.matches(opened).matched
    assert not Filter('alert.age > duration("4h")').matches(opened).matched
    assert set(asked.variables) == {"rule", "since", "until", "about"}
    assert asked.about == ("fsName",)


def test_the_alert_of_any_other_event_is_null():
    assert Filter("alert == null").matches(make_event()).matched
    assert Filter("alert != null").matches(change("alertOpened")).matched
    assert alert_values.for_filters(change("alertOpened", type="site.alertOpened")) is None


def test_templates_get_moments_and_ages_as_people_write_them():
    closed = change(
        "alertClosed", since="2026-11-20T12:00:00Z", until="2026-11-20T14:05:09Z", time="2026-11-20T14:05:10Z"
    )

    text = Template("{{ alert.rule }} {{ alert.about.fsName }} {{ alert.since }} {{ alert.age }}").render_text(closed)

    assert text == "soft-quota gpfs1 2026-11-20 13:00 CET 2 h 5 min"


def test_a_template_distinguishes_alerts_from_other_events():
    template = Template("{% if alert %}{{ alert.state }}{% else %}{{ node }}{% endif %}")

    assert [template.render_text(each) for each in (change("alertOpened"), make_event())] == ["open", "nsd01"]


@pytest.mark.parametrize(
    ("part", "said"),
    [("stat", "alert has no stat; did you mean state?"), ("fsName", "alert has no fsName; write alert.about.fsName")],
)
def test_a_part_that_no_alert_has_is_refused(part, said):
    with pytest.raises(FilterError) as of_filter:
        Filter(f"alert.{part} == null")
    with pytest.raises(TemplateError) as of_template:
        Template(f"{{{{ alert.{part} }}}}")

    assert (str(of_filter.value), str(of_template.value)) == (said, said)


def test_what_an_alert_is_not_about_is_absent():
    opened = change("alertOpened", about=["diskName=d1"])

    assert Template("{{ alert.about.fsName | default('-') }}").render_text(opened) == "-"
    with pytest.raises(TemplateError, match="fsName"):
        Template("{{ alert.about.fsName }}").render_text(opened)


@pytest.mark.parametrize("hostile", [None, 7, "x", ["=", "a", "=b", "a=b=c", ""]])
def test_no_content_of_an_event_breaks_it(hostile):
    data = dict.fromkeys(("about", "since", "until", "state", "flapping", "openings"), hostile)
    event = change("alertOpened", **{**data, "time": "2026-11-20T15:00:00Z"})

    assert Filter('alert.id == "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"').matches(event).matched
    assert Template("{{ alert.id }}").render_text(event) == "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"


def test_the_age_is_never_negative():
    early = change("alertOpened", since="2026-11-20T12:00:00Z", time="2026-11-20T11:00:00Z")

    assert alert_values.age(early.data, early.time) == timedelta()


def test_sizes_and_local_times_are_filters_of_templates():
    event = make_event(blockUsage=1048576)

    assert Template("{{ data.blockUsage | size('KiB') }}, {{ time | local }}").render_text(event) == (
        "1 GiB, 2026-11-20 16:22 CET"
    )
    with pytest.raises(TemplateError, match="no nothing"):
        Template("{{ data.nothing | size }}").render_text(event)
    with pytest.raises(TemplateError, match="unknown unit 'KB'"):
        Template("{{ data.blockUsage | size('KB') }}").render_text(event)
