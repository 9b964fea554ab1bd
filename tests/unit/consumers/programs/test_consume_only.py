"""`consume --only` serves some subscriptions, and keeps the alerts of all rules."""

from consumers.programs.consume import load
from router.settings.models import Settings

FILE = """\
version: 1
alerts:
  - {name: room-hot, opens: diskFailure, closes_after: 1h, by: data.fsName}
subscriptions:
  - {name: one, on: diskFailure, log: {}}
  - {name: other, on: diskFailure, log: {}}
"""


def test_who_serves_only_one_subscription_closes_no_alerts_of_the_rules_of_the_site(tmp_path):
    (tmp_path / "site.yaml").write_text(FILE)
    settings = Settings.model_validate({"consumers": {"callbacks": str(tmp_path / "none")}})

    every, some = load([tmp_path / "site.yaml"], settings), load([tmp_path / "site.yaml"], settings, ["one"])

    assert [each.name for each in some.subscriptions] == ["one"]
    assert "room-hot" in {each.name for each in some.alerts}
    # An alert is closed because its rule is gone where its rule is not among these.
    assert some.alerts == every.alerts
