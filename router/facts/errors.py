"""What goes wrong with facts as a whole; that a part of them is not known is no error, but said with them."""

from ..errors import RouterError


class FactsError(RouterError):
    """The facts cannot be read or written: their store, or whose facts they would be."""
