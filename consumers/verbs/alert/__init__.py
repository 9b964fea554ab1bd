"""The verb `alert`: keeps alerts in Alertmanager, PagerDuty, Opsgenie and other systems as they are here."""
