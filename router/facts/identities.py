"""One identity for each node: short, full, admin and daemon name and address all map to it.  Pure.

The identity is the word by which events name a node: the first label of its daemon name, lower case, with a dash for
whatever is no letter, digit or dash.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

_NO_WORD = re.compile(r"[^a-z0-9-]")
_LONGEST = 63
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:.%]*:[0-9a-fA-F:.%]*")


def short(name: str) -> str:
    """Return the word that events would name the node *name* by.

    >>> short("NSD_01.site.org"), short("10.1.0.1")
    ('nsd-01', '10-1-0-1')
    """
    label = name if _ADDRESS.fullmatch(name) else name.partition(".")[0]
    return _NO_WORD.sub("-", label.lower())[:_LONGEST]


def identities(nodes: Iterable[str]) -> list[str]:
    """Return the identity of each of *nodes*, daemon names; those whose first labels are alike keep all labels.

    >>> identities(["nsd01.a.org", "cl01.a.org", "cl01.b.org"])
    ['nsd01', 'cl01-a-org', 'cl01-b-org']
    """
    names = list(nodes)
    words = [short(each) for each in names]
    alike = {word for word, times in Counter(words).items() if times > 1}
    return [
        _NO_WORD.sub("-", name.lower())[:_LONGEST] if word in alike else word
        for name, word in zip(names, words, strict=True)
    ]


def spellings(names: Mapping[str, Iterable[str | None]]) -> dict[str, str]:
    """Return identities by all spellings of *names*, each identity's; one that would mean two nodes means none.

    >>> spellings({"nsd01": ["nsd01-ib.site.org", "10.1.0.1", None], "cl01": ["cl01.site.org", "10.1.0.1"]})["cl01"]
    'cl01'
    """
    found: dict[str, str] = {}
    several: set[str] = set()
    for identity, spelled in names.items():
        for name in (each for each in spelled if each):
            for form in {name, name.lower(), short(name), name.partition(".")[0]}:
                if _is_label_of_address(form, name):
                    continue
                if found.setdefault(form, identity) != identity:
                    several.add(form)
    kept = {form: identity for form, identity in found.items() if form not in several}
    # An identity is itself, whatever else has that name.
    return kept | {each: each for each in names}


def _is_label_of_address(form: str, name: str) -> bool:
    return form != name and bool(_ADDRESS.fullmatch(name))
