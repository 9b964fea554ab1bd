"""Threads: the messages about one alert belong together where a service can show that.

Mail: all of them refer to one message that nobody has got, which mail programs show as one thread.  Google Chat: the
thread has a key.  With the other services, apprise cannot write into a thread of ours: it does not return the ids that
they give to messages, without which Slack, Discord, Mattermost and Matrix know no thread.
"""

from __future__ import annotations

from apprise.plugins import NotifyBase

_HEADERS = ("References", "In-Reply-To")


def join(plugin: NotifyBase, thread: str) -> None:
    """Make what *plugin* sends a part of *thread*, the id of an alert; an empty text is no thread.

    What the address itself says of headers and threads stays.
    """
    if not thread:
        return
    # These modules warn when they are imported first, which `apprise_client` does without a word.
    from apprise.plugins.email import NotifyEmail  # noqa: PLC0415 - see above
    from apprise.plugins.google_chat import NotifyGoogleChat  # noqa: PLC0415 - idem

    if isinstance(plugin, NotifyEmail):
        given = {name.strip().lower() for name in plugin.headers}
        root = f"<{thread}.alerts@clusterbus.invalid>"
        plugin.headers.update({name: root for name in _HEADERS if name.lower() not in given})
    elif isinstance(plugin, NotifyGoogleChat) and not plugin.thread_key:
        plugin.thread_key = f"clusterbus-{thread}"
