"""One identity for each node: its short, full, admin and daemon names and its address all map to it.  Pure.

The identity is the node's word in events, by its daemon name.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from ...model.node_words import is_address, label_of, whole_word_of, word_of


def identities(nodes: Iterable[str]) -> list[str]:
    """Return the identity of each of *nodes*, given by daemon name; nodes with the same first label keep all labels.

    >>> identities(["nsd01.a.org", "cl01.a.org", "cl01.b.org"])
    ['nsd01', 'cl01-a-org', 'cl01-b-org']
    """
    names = list(nodes)
    times = Counter(map(word_of, names))
    return [word if times[word := word_of(name)] == 1 else whole_word_of(name) for name in names]


def spellings(names: Mapping[str, Iterable[str | None]]) -> dict[str, str]:
    """Return a map from every spelling to its identity; *names* gives the names of each identity.

    A spelling that would mean two nodes is left out.

    >>> spellings({"nsd01": ["nsd01-ib.site.org", "10.1.0.1", None], "cl01": ["cl01.site.org", "10.1.0.1"]})["cl01"]
    'cl01'
    """
    found: dict[str, str] = {}
    several: set[str] = set()
    for identity, spelled in names.items():
        for name in (each for each in spelled if each):
            forms = {name} if is_address(name) else {name, name.lower(), word_of(name), label_of(name)}
            for form in forms:
                if found.setdefault(form, identity) != identity:
                    several.add(form)
    kept = {form: identity for form, identity in found.items() if form not in several}
    # An identity always maps to itself, even if another node has that name too.
    return kept | {each: each for each in names}
