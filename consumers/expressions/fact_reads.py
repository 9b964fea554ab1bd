"""Which facts the tree of an expression reads, and how often.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router.model.events import Event

from .cel_syntax.tree import Binary, Bindings, Call, Constant, Index, Macro, Name, Node, Select, binding, walk
from .fact_paths import FACTS, AnyKey, Path, Place, is_list

_Step = str | Place | AnyKey | Path
_DATA = Name("data")
_NAMES_ONLY = AnyKey(names_only=True)


def paths_of(tree: Node) -> tuple[Path, ...]:
    """Return the paths of the facts that *tree* reads."""
    return tuple(dict.fromkeys(_paths(tree)))


def _paths(tree: Node) -> Iterator[Path]:
    done = set[int]()
    for node, around in walk(tree):
        of, path = _wider(node, around) or (node, _path(node, around))
        if path is not None and id(of) not in done:
            yield path
            # The beginning of a path is no path of its own.
            done.update(_beginnings(of))


def _beginnings(node: Node) -> Iterator[int]:
    yield id(node)
    if isinstance(node, Select | Index):
        yield from _beginnings(node.of)


def _wider(node: Node, around: Bindings) -> tuple[Node, Path | None] | None:
    """Return the facts in *node* of which only names are read, or only one value, with their path; None for others."""
    match node:
        case Binary("in", key, of):
            # Of many keys, only whether they exist is of interest.
            single = not (isinstance(key, Name) and binding(key.name, around)) and _key(key, around) != AnyKey()
            return of, _below(_path(of, around), _key(key, around) if single else _NAMES_ONLY)
        case Binary("==" | "!=", of, Constant("null")) | Binary("==" | "!=", Constant("null"), of) if of == Name(FACTS):
            return of, Path((_NAMES_ONLY,))
        case Call("size", None, (of,)) | Call("size", of, ()) | Macro(_, of) if of is not None:
            return of, _below(_path(of, around), _NAMES_ONLY)
    return None


def _below(path: Path | None, step: _Step) -> Path | None:
    if path is None or (path.steps and isinstance(path.steps[-1], AnyKey)):
        return path
    return Path((*path.steps, step))


def _path(node: Node, around: Bindings) -> Path | None:
    """Return the path of *node*, or None if it is no fact."""
    match node:
        case Name("facts") if not binding(FACTS, around):
            return Path(())
        case Select(of, name):
            above = _path(of, around)
            return None if above is None else Path((*above.steps, name))
        case Index(of, key):
            above = _path(of, around)
            # A number is the place of an item in a list, which is passed completely.
            is_number = isinstance(key, Constant) and key.kind != "string"
            return above if above is None or is_number else Path((*above.steps, _key(key, around)))
    return None


def _key(node: Node, around: Bindings) -> _Step:
    """Return the key that *node* gives: a plain text, an attribute of the event, a variable, a fact, or any key."""
    match node:
        case Constant("string", value):
            return str(value)
        case Index(of, Constant("int" | "uint")):
            # Each item of a list is a key.
            return _key(of, around)
        case Name(name) if macro := binding(name, around):
            return _key(macro.over, around[: around.index(macro)]) if _is_list(macro.over, around) else AnyKey()
        case Name(name) if name in Event.model_fields:
            return Place((name,))
        case Select(of, name) if of == _DATA:
            return Place(("data", name))
    return _path(node, around) or AnyKey()


def _is_list(node: Node, around: Bindings) -> bool:
    """Return whether the items of *node* are texts of the event, or the facts of one list."""
    key = _key(node, around)
    return isinstance(key, Place) or (isinstance(key, Path) and is_list(key))


def looks_of(tree: Node, root: str = FACTS) -> tuple[tuple[str, int], ...]:
    """Return each access to *root*: the name directly below it, and how many loops repeat the access."""
    found, named = [], set()
    for node, around in walk(tree):
        if isinstance(node, Select | Index) and node.of == Name(root) and not binding(root, around):
            found.append((node.name if isinstance(node, Select) else "", len(around)))
            named.add(id(node.of))
        elif node == Name(root) and id(node) not in named and not binding(root, around):
            found.append(("", len(around)))
    return tuple(found)


def bound_names(tree: Node) -> Sequence[str]:
    """Return the name that each macro of *tree* binds."""
    return [node.name for node, _ in walk(tree) if isinstance(node, Macro)]
