"""Sources: the systems that events come from, each with its catalogue and its way of giving values.

A source without a decoder here, our own reports among them, gives plain `--variable value...` pairs.
"""

from collections.abc import Callable, Mapping, Sequence

from ..catalogue import Catalogue
from .arguments import ARGUMENTS, Decoded, escaped
from .arguments import decode as _plain
from .gpfs import decoder as _gpfs
from .qube import decoder as _qube

__all__ = ["ARGUMENTS", "Decoded", "decode", "escaped"]

_DECODERS: Mapping[str, Callable[[Sequence[str], Catalogue], Decoded]] = {
    "gpfs": _gpfs.decode,
    "qube": _qube.decode,
}


def decode(arguments: Sequence[str], catalogue: Catalogue) -> Decoded:
    """Return *arguments* as the values that the catalogue's source means; never raises, and loses none of them."""
    return _DECODERS.get(catalogue.source, _plain)(arguments, catalogue)
