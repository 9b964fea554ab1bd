"""Comparisons in templates are checked against the types of what they compare, as those of filters are."""

import pytest

from consumers.errors import TemplateError
from consumers.expressions.templates import Template
from consumers.expressions.type_checks.event_domains import Selected
from consumers.expressions.type_checks.template_conditions import findings
from router.model.catalogue import Catalogues

from .test_templates import event

CATALOGUES = Catalogues.shipped()


def found(on: str, text: str) -> list[tuple[str, bool]]:
    Template(text)
    selected = Selected(CATALOGUES, tuple(kind for name in on.split() for kind in CATALOGUES.find(name)))
    return [(each.message, each.warning) for each in findings(text, selected)]


@pytest.mark.parametrize(
    ("on", "condition", "said"),
    [
        ("diskFailure", "type == 'diskFailure'", 'never true: type is always gpfs.diskFailure; write type == "gpfs.di'),
        ("diskFailure", "type != 'diskFailure'", "true for every event: type is always gpfs.diskFailure"),
        ("diskFailure", "'diskFailure' == type", "never true: type is always gpfs.diskFailure"),
        ("diskFailure", "type is eq 'diskFailure'", "never true: type is always gpfs.diskFailure"),
        ("diskFailure", "type in ('diskFailure',)", "never true: type is always gpfs.diskFailure"),
        ("diskFailure", "type not in ['diskFailure']", "never true: type is always gpfs.diskFailure"),
        (
            "diskFailure",
            "data.diskName == 'nsd3'",
            'data.diskName is a list, such as ["nsd01", "nsd02"]; write "nsd3" in data.diskName',
        ),
        ("diskFailure", "data['diskName'] != 'nsd3'", '"nsd02"]; write not ("nsd3" in data.diskName)'),
        ("diskFailure", "3 in data.diskName", "3 in data.diskName is never true"),
        ("diskFailure", "severity == 'CRITICAL'", 'severity == "CRITICAL" is never true: severity is always error'),
        ("softQuotaExceeded", "data.quotaID == '1001'", "a whole number, such as 1001; write data.quotaID == 1001"),
        (
            "softQuotaExceeded",
            "data.quotaID | default(0) == '1001'",
            "a whole number, such as 1001; write data.quotaID == 1001",
        ),
        ("softQuotaExceeded", "data.quotaID > '1001'", "compares a whole number with a text"),
        ("softQuotaExceeded", "1 < data.quotaID < '9'", "compares a whole number with a text"),
        ("diskFailure", "type == 'gpfs.nodeLeave'", "never true: type is always gpfs.diskFailure"),
    ],
)
def test_what_can_never_be_is_refused(on: str, condition: str, said: str) -> None:
    ((message, is_warning),) = found(on, f"{{{{ 'a' if {condition} else 'b' }}}}")
    assert (said in message, is_warning) == (True, False), message


@pytest.mark.parametrize("condition", ["severity >= 'warning'", "severity != 'info'", "severity not in ['info']"])
def test_what_is_only_true_for_these_events_is_not_refused(condition: str) -> None:
    assert found("diskFailure", f"{{% if {condition} %}}a{{% endif %}}") == []


@pytest.mark.parametrize(
    "condition",
    [
        "type == 'gpfs.diskFailure'",
        "'nsd3' in data.diskName",
        "data.diskName[0] == 'nsd3'",
        "data.fsName == none",
        "'gpfs' in data.fsName",
        "data.fsName | default('') == ''",
        "data.fsName | upper == 'GPFS1'",
        "severity < 'critical'",
        "fold.count > 1",
        "facts.nodes[node].state == 'active'",
    ],
)
def test_what_may_be_is_not_refused(condition: str) -> None:
    assert found("diskFailure softQuotaExceeded nodeLeave", f"{{% if {condition} %}}a{{% endif %}}") == []


def test_advice_that_only_filters_understand_is_left_out() -> None:
    ((message, _),) = found("diskFailure", "{% if data.diskName in ['a', 'b'] %}a{% endif %}")
    assert "exists(" not in message


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("severity >= 'warning'", True),
        ("severity > 'error'", False),
        ("'critical' > severity", True),
        ("'info' <= severity < 'critical'", True),
        ("'info' <= severity == 'error'", True),
        ("severity | lower < 'warning'", False),
        ("severity is ge 'critical'", False),
        ("severity is lt('critical')", True),
        ("severity <= data.text", False),
    ],
)
def test_severities_have_an_order(condition: str, *, holds: bool) -> None:
    happened = event(text="notice")
    assert happened.severity == "error"
    assert Template(f"{{{{ 'a' if {condition} else 'b' }}}}").render(happened) == ("a" if holds else "b")


def test_a_severity_is_compared_with_severities_only() -> None:
    with pytest.raises(TemplateError, match='"CRITICAL", which is no severity; did you mean critical'):
        Template("{{ severity >= 'CRITICAL' }}")
    with pytest.raises(TemplateError, match='"loud", which is no severity'):
        Template("{{ severity >= data.text }}").render(event(text="loud"))
    with pytest.raises(TemplateError, match="the event has no text"):
        Template("{{ severity >= data.text }}").render(event())


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{{ fold.values.diskNam | default([]) | join(',') }}",
            "no variable fold.values.diskNam; did you mean diskName",
        ),
        ("{{ fold['values']['diskNam'] | default([]) | join(',') }}", "no variable fold.values.diskNam; did you mean"),
        ("{% if fold.values.blockUsage %}a{% endif %}", "diskFailure cannot have fold.values.blockUsage"),
    ],
)
def test_a_fold_has_values_of_variables_of_its_events_only(template: str, said: str) -> None:
    ((message, is_warning),) = found("diskFailure", template)
    assert (said in message, is_warning) == (True, False), message


def test_a_fold_has_the_values_of_all_variables_of_its_events() -> None:
    assert (
        found("diskFailure", "{{ fold.values.diskName | default([]) | join(',') }}{{ fold.values['fsName'][0] }}") == []
    )
