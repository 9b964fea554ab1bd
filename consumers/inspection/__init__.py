"""Read-only inspection: dry runs, tests of subscriptions, `why` and `doctor`."""
