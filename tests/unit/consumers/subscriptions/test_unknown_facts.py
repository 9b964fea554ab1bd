"""`check` warns of templates that cannot be filled in while facts are not known."""

import pytest

from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues

SHIPPED = Catalogues.shipped()


def warnings(folder, entry):
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {{name: it, on: nodeLeave, {entry}}}\n")
    report = check(file, SHIPPED)
    assert (report.mistakes, report.faults) == ((), ())
    return [(each.field, each.message) for each in report.warnings]


def running(template):
    return f'run: {{command: [/bin/echo, "{template}"]}}'


LIST = "{{ facts.down | join(',') }}"


@pytest.mark.parametrize(
    ("entry", "field", "fact"),
    [
        (running("{{ facts.down | join(',') }}"), "run.command.2", "facts.down"),
        (running("{{ facts.manager }}"), "run.command.2", "facts.manager"),
        (running("{{ facts.nodes[node].state }}"), "run.command.2", "facts.nodes[...].state"),
        (running("{{ facts.nodes['a-b'].state }}"), "run.command.2", "facts.nodes['a-b'].state"),
        (running("{{ facts.quorum.present }}"), "run.command.2", "facts.quorum.present"),
        (running("{{ facts.cluster }}"), "run.command.2", "facts"),
        (running("{{ facts.manager or facts.full_name }}"), "run.command.2", "facts"),
        ("post: {url: 'https://x.example.org', body: {by: '{{ facts.manager }}'}}", "post.body.by", "facts.manager"),
        (
            "run: {command: [/bin/echo], nodes: \"{{ facts.node_classes['nsd'] | join(',') }}\"}",
            "run.nodes",
            "facts.node_classes.nsd",
        ),
        (f"where: facts.quorum.reached, {running('{{ facts.manager }}')}", "run.command.2", "facts.manager"),
        (f"where: 'facts.manager != \"n9\"', {running('{{ facts.manager }}')}", "run.command.2", "facts.manager"),
    ],
)
def test_a_fact_without_another_branch_is_warned_of(tmp_path, entry, field, fact):
    [(place, message)] = warnings(tmp_path, entry)

    assert (place, message.startswith(f"for nodeLeave: {fact} may be unknown, and then ")) == (field, True)
    assert "default('...')" in message
    assert message.endswith("or ask for it in guard.only_when")


@pytest.mark.parametrize(
    "entry",
    [
        running("{{ facts.down | default([]) | join(',') }}"),
        running("{{ facts.manager or '?' }}"),
        running("{{ facts.nodes[node].state | default('?') }}"),
        running("{% if facts.manager %}{{ facts.manager }}{% endif %}"),
        f"where: 'facts.manager == \"n9\"', {running('{{ facts.manager }}')}",
        f"guard: {{only_when: facts.manager != null}}, {running('{{ facts.manager }}')}",
        f"guard: {{only_when: facts.quorum.reached}}, {running('{{ facts.cluster }}')}",
        f"guard: {{only_when: size(facts.down) > 0}}, {running(LIST)}",
    ],
)
def test_a_fact_that_a_template_or_filter_sees_to_is_not_warned_of(tmp_path, entry):
    assert warnings(tmp_path, entry) == []
