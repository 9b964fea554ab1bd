"""The verbs, which are the actions on an event; each verb has a folder.

Your own distribution can add a verb: see `Verb` in `interface`.
"""

from .interface import Delivery, Handler, Kinds, Remark, Report, Surroundings, Verb

__all__ = ["Delivery", "Handler", "Kinds", "Remark", "Report", "Surroundings", "Verb"]
