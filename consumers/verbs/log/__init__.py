"""The verb `log`: records events in the audit, in files and in syslog."""
