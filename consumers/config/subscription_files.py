"""Which files hold subscriptions: those that are named, and in a folder all of known suffixes; and which do not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from router.errors import SettingsError
from router.settings import bounded_files, yaml_documents
from router.settings.yaml_documents import Document, failed

Parser = Callable[[bytes, str], Document]
"""Reads the content of the file of that name."""


def read_all(paths: Sequence[Path] | Path, parsers: Mapping[str, Parser] | None = None) -> list[Document]:
    """Return every file of *paths* once; of a folder, all that are YAML by their names, sorted, without hidden ones.

    *parsers* read files of other suffixes, also in folders.  Any other file is read as YAML.
    """
    known: Mapping[str, Parser] = {**dict.fromkeys(bounded_files.YAML, parse), **(parsers or {})}
    documents: dict[Path, Document] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        if path.is_dir():
            try:
                found = [each for each in bounded_files.in_folder(path) if _suffix(each) in known]
            except OSError as error:
                found, documents[path] = [], failed(str(path), 0, f"cannot be read: {error.strerror}")
            if not found and path not in documents:
                named = " or ".join(f"*{suffix}" for suffix in known)
                documents[path] = failed(str(path), 0, f"no file here is named {named}")
        else:
            found = [path]
        documents |= {each: _read(each, known.get(_suffix(each), parse)) for each in found if each not in documents}
    return list(documents.values())


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def of_callbacks(folder: Path) -> list[Path]:
    """Return the subscription files of Python callbacks, without the modules whose functions they call."""
    return sorted(each for each in folder.glob("*.yaml") if not each.name.startswith("."))


def names(paths: Sequence[Path], section: str = "subscriptions") -> list[str]:
    """Return the names of the subscriptions in the files *paths*, for completion: checks nothing, runs no Python file.

    They are those of another *section* where one is given.  A file that cannot be read has none.
    """
    return [name for name, _ in _entries(paths, section)]


def names_with(paths: Sequence[Path], key: str) -> set[str]:
    """Return the names of those subscriptions that have *key*, as `names` does."""
    return {name for name, entry in _entries(paths, "subscriptions") if key in entry}


def _entries(paths: Sequence[Path], section: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    for each in read_all(paths, {".py": _declared}):
        if isinstance(each.value, dict) and isinstance(found := each.value.get(section), list):
            yield from ((e["name"], e) for e in found if isinstance(e, dict) and isinstance(e.get("name"), str))


def _declared(content: bytes, file: str) -> Document:
    """Return the names that a handlers file declares with `@on`, as entries; the file does not run."""
    entries = []
    with suppress(SyntaxError, ValueError, RecursionError):
        for function in ast.walk(ast.parse(content)):
            for each in getattr(function, "decorator_list", ()):
                if isinstance(each, ast.Call) and ast.unparse(each.func).rpartition(".")[2] == "on":
                    given = (word.value for word in each.keywords if word.arg == "name")
                    text = next((value.value for value in given if isinstance(value, ast.Constant)), None)
                    entries.append({"name": text or function.name.replace("_", "-")})  # type: ignore[attr-defined]  # what is decorated has a name
    return Document(file, {"subscriptions": entries})


def parse(content: bytes, file: str) -> Document:
    """Return what the YAML in *content* of *file* says; an empty file has a flaw."""
    document = yaml_documents.parse(content, file)
    if not document.lines and not document.flaws:
        return failed(file, 1, "is empty: it needs `version: 1` and `subscriptions:`")
    return document


def _read(path: Path, parser: Parser) -> Document:
    try:
        content = bounded_files.read(path)
    except SettingsError as error:
        return failed(str(path), 0, str(error))
    return parser(content, str(path))
