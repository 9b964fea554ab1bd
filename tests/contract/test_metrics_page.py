"""docker/METRICS.md has each metric that is exported; alert rules and dashboard use only such, and are sound."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from router.model.histograms import BOUNDS, Histogram
from shim.metrics import Metrics
from tests import metrics_page
from tests.processes import bound

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "prometheus" / "clusterbus.rules.yaml"
RULE_TESTS = Path(__file__).with_name("alert_rules.yaml")
DASHBOARD = ROOT / "docker" / "grafana" / "clusterbus.json"
OURS = re.compile(r"\b(?:clusterbus|process)_[a-z_]+")


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_the_page_has_each_metric_with_what_it_means():
    page = metrics_page.PAGE.read_text()

    # `python -m tests.metrics_page` writes them.
    assert metrics_page.parts(page) == metrics_page.tables()


def test_the_page_names_the_buckets():
    text = " ".join(metrics_page.PAGE.read_text().split())
    shown = re.search(r"Their buckets end at ([0-9., ]+) and ([0-9]+) ms, and at ([0-9., ]+) and ([0-9,]+) s\.", text)
    assert shown

    short, last_short, long, last_long = (each.replace(",000", "000").replace(",600", "600") for each in shown.groups())
    last_long = last_long.replace(",", "")

    listed = [float(each) / 1000 for each in [*re.findall(r"[0-9.]+", short), last_short]]
    listed += [float(each) for each in [*re.findall(r"[0-9.]+", long), last_long]]
    assert tuple(listed) == BOUNDS


def test_the_relay_and_the_other_programs_have_the_same_buckets():
    ours, theirs = Metrics(), Histogram()
    for seconds in (0, 0.001, 0.0011, 14400, 20000):
        ours.observe(seconds)
        theirs.observe(seconds)

    assert re.findall(r'_bucket\{le="(.+)"\} ([0-9]+)', ours.text()) == [(le, str(n)) for le, n in theirs.buckets()]


def test_names_follow_the_guide_of_prometheus():
    for metrics in metrics_page.PROGRAMS.values():
        for each in metrics:
            assert re.fullmatch(r"clusterbus_[a-z_]+", each.full_name)
            assert each.full_name.endswith("_total") == (each.kind == "counter")
            assert each.kind != "histogram" or each.full_name.endswith("_seconds")
            assert each.help.endswith(".")


@pytest.mark.parametrize("expression", [*(each["expr"] for each in rules()), *queries()])
def test_rules_and_dashboard_use_metrics_that_exist(expression):
    assert set(OURS.findall(expression)) <= metrics_page.names()


def test_the_dashboard_shows_each_metric_of_router_and_consumers():
    used = {name for each in queries() for name in OURS.findall(each)}
    shown = {re.sub(r"_bucket$", "", name) for name in used}

    wanted = {each.full_name for metrics in metrics_page.PROGRAMS.values() for each in metrics}
    assert wanted - shown == {"clusterbus_program_info"}


def test_the_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_each_alert_says_what_to_do_and_has_a_test():
    tests = RULE_TESTS.read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f'alertname="{rule["alert"]}"' in tests


@pytest.mark.parametrize(
    "words",
    [
        ["check", "rules", str(RULES)],
        ["check", "config", str(RULES.with_name("prometheus.yaml"))],
        ["test", "rules", str(RULE_TESTS)],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_promtool_finds_nothing_wrong(words, require):
    ended = subprocess.run([require("promtool"), *words], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("module", ["router.cli.router", "consumers.programs.consume", "consumers.cli.main"])
def test_programs_without_metrics_import_nothing_of_prometheus(module):
    code = (
        f"import sys, {module}\nprint([name for name in sys.modules if 'prometheus' in name or name == 'http.server'])"
    )

    ended = subprocess.run(
        bound([sys.executable, "-P", "-c", code]), capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )

    assert ended.stdout.strip() == "[]"
