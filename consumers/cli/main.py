"""The entry point of `clusterbus`: the list of commands, and the exit code of each kind of error."""

import gc
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from router import file_modes
from router.cli.app import Commands, Entry, program
from router.cli.output import fail, fault, show
from router.cluster.facts.errors import FactStoreError
from router.cluster.gpfs.errors import CommandMissing
from router.errors import RouterError, SettingsError, StateError, Unreachable

from ..errors import ConsumerError, JobsUnusable, StoreError, SubscriptionsError

_ANY = {"context_settings": {"allow_extra_args": True, "ignore_unknown_options": True}, "add_help_option": False}

COMMANDS: Mapping[str, Entry] = {
    "init": Entry("consumers.cli.init.command", "init", "Write the settings of a new site; ask for the facts."),
    "up": Entry("consumers.cli.programs", "up", "Run everything on this machine: broker, relay, router, consumers."),
    "demo": Entry("consumers.cli.programs", "demo", "Run a demo: twelve simulated nodes and a minute of failures."),
    "router": Entry("router.cli.router", "router", "Turn records into events; a second router is a standby."),
    "consume": Entry("consumers.cli.programs", "consume", "Deliver events to subscriptions."),
    "relay": Entry("router.cli.router", "relay", "Send the records in the spool of this node to the broker.", _ANY),
    "emit": Entry("router.cli.events", "emit", "Publish an event by hand, as a node would."),
    "tail": Entry("router.cli.events", "tail", "Show events as they arrive; with --since, past events first."),
    "dead": Entry(
        "consumers.cli.dead_letters", "dead_app", "Failed deliveries, rejected records, unroutable messages."
    ),
    "route": Entry("consumers.cli.route", "route", "Show which subscriptions match an event; nothing is executed."),
    "why": Entry("consumers.cli.why", "why", "Explain what happened to an event in each subscription."),
    "deliveries": Entry("consumers.cli.deliveries", "deliveries", "Show attempts and their outcomes."),
    "subscriptions": Entry("consumers.cli.subscriptions", "subscriptions_app", "Subscriptions and their queues."),
    "services": Entry(
        "router.cli.services.service_commands",
        "services_app",
        "Programs of other teams: their queues, users and backlog.",
    ),
    "actions": Entry(
        "consumers.cli.actions.run_by_hand", "actions_app", "Actions: what subscriptions and operators can run."
    ),
    "alerts": Entry("consumers.cli.alerts.lists", "alerts_app", "Alerts: what is wrong now, and who takes care of it."),
    "silences": Entry(
        "consumers.cli.silences", "silences_app", "Mute notifications for a while, with author and comment."
    ),
    "breakers": Entry(
        "consumers.cli.breakers", "breakers_app", "Circuit breakers: targets paused after repeated failures."
    ),
    "webhooks": Entry("consumers.cli.webhooks.keys", "webhooks_app", "Keys that sign the calls of `post`."),
    "jobs": Entry("consumers.cli.jobs", "jobs_app", "Detached commands, and deliveries that wait for approval."),
    "schema": Entry(
        "consumers.cli.schema.schema_command",
        "schema",
        "Print JSON Schemas, of files that you write and of events, or AsyncAPI.",
    ),
    "catalogue": Entry("consumers.cli.check", "catalogue", "Show event types and their variables."),
    "broker": Entry("router.cli.broker.setup", "broker_app", "Exchanges, queues, bindings and users at the broker."),
    "nodes": Entry(
        "router.cli.nodes", "nodes_app", "Deploy, check or remove the shim on nodes; list records that are missing."
    ),
    "callbacks": Entry("router.cli.callbacks", "callbacks_app", "Plan, apply and check the registration of callbacks."),
    "facts": Entry("router.cli.facts", "facts_app", "Facts about the cluster: nodes, quorum, file systems, disks."),
    "check": Entry("consumers.cli.check", "check", "Validate settings, subscriptions and the catalogue file."),
    "doctor": Entry("consumers.cli.check", "doctor", "Report problems, and how to fix them."),
    "status": Entry(
        "consumers.cli.status.status_screen", "status", "One screen: what is wrong, what waits, who knows."
    ),
    "settings": Entry("router.cli.settings", "settings", "Show the effective settings and where each comes from."),
}


class Clusterbus(Commands):
    """The commands of `clusterbus`."""

    entries = COMMANDS

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click's
        """Return the command that *args* name; collect garbage from here on, but not in what was imported for it."""
        found = super().resolve_command(ctx, args)
        gc.freeze()
        gc.enable()
        return found


app = program(Clusterbus)


def main() -> None:
    """Run the command line; print an error of ours as its message, and exit with its code."""
    file_modes.restrict()
    try:
        app()
    except (SettingsError, SubscriptionsError) as error:
        _end(error, 2)
    except (Unreachable, CommandMissing, StateError, StoreError, FactStoreError, JobsUnusable) as error:
        _end(error, 2 if isinstance(error.__cause__, SettingsError) else 3)
    except (RouterError, ConsumerError, ValueError) as error:
        _end(error, 1)
    except Exception:  # noqa: BLE001 - a bug: its traceback is printed with escapes, like all other output
        fault(traceback.format_exc())
        sys.exit(1)


def _end(error: Exception, code: int) -> NoReturn:
    if "--nagios" in sys.argv:
        # A plugin that cannot read its settings knows nothing; the other codes would say something else.
        show(f"CLUSTERBUS UNKNOWN - {' '.join(str(error).split())}".replace("|", "/"))
        sys.exit(3)
    fail(f"clusterbus: {error}", code)


if __name__ == "__main__":
    main()
