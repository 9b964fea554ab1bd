"""What is deleted from the store when it is old: rows in portions, the audit in whole segments."""
