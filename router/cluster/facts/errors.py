"""The errors of facts as a whole.  An unknown part is not an error: the facts report it as missing."""

from ...errors import RouterError


class FactsError(RouterError):
    """The facts cannot be read or written: the store fails, or their cluster is not known."""


class FactStoreError(FactsError):
    """The store of the facts cannot be read or written."""
