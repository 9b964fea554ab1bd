"""What a verb of your own is built from; see `Verb`."""

from consumers.verbs.interface import Delivery, Handler, Kinds, Remark, Report, Surroundings, Verb

__all__ = ["Delivery", "Handler", "Kinds", "Remark", "Report", "Surroundings", "Verb"]
