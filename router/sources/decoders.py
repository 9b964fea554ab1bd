"""The decoder of each source: turns the arguments of its records into values.

A source without its own decoder gives plain `--variable value...` pairs; so do the reports of clusterbus itself.
"""

from collections.abc import Callable, Mapping, Sequence

from ..model.catalogue import Catalogue
from .arguments import Decoded
from .arguments import decode as _plain
from .gpfs import decoder as _gpfs
from .qube import decoder as _qube

_DECODERS: Mapping[str, Callable[[Sequence[str], Catalogue], Decoded]] = {"gpfs": _gpfs.decode, "qube": _qube.decode}


def decode(arguments: Sequence[str], catalogue: Catalogue) -> Decoded:
    """Return *arguments* as values, decoded for the source of *catalogue*; never raises, and loses no argument."""
    return _DECODERS.get(catalogue.source, _plain)(arguments, catalogue)
