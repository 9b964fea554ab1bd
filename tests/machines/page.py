"""A page whose commands are run: each block of shell says above it on which machines, `<!-- on: mq1 mq2 mq3 -->`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.rig import Rig

_HEADING = re.compile(r"^## (?P<title>.+)$")
_PLACE = re.compile(r"^<!-- on: (?P<hosts>[a-z0-9 ]+) -->$")
_FENCE = re.compile(r"^ *```(?P<language>\w*)$")
_LIMIT = 600.0


@dataclass(frozen=True)
class Block:
    """Commands, the machines to run them on, one after another, and where they are on the page."""

    section: str
    hosts: Sequence[str]
    script: str
    line: int


class Page:
    """The commands of the page at *path*, in its order."""

    def __init__(self, path: Path) -> None:
        self.path, self.blocks = path, list(_blocks(path.read_text()))

    @property
    def sections(self) -> list[str]:
        """The headings of the sections that have commands."""
        return list(dict.fromkeys(block.section for block in self.blocks))

    def follow(self, rig: Rig, last: str) -> None:
        """Do on *rig* what the page says up to the section *last* and was not done before."""
        for section in self.sections[: self.sections.index(last) + 1]:
            if section not in rig.done:
                self.run(rig, section)
                rig.done.append(section)
                rig.save()

    def run(self, rig: Rig, section: str) -> list[str]:
        """Run the commands of *section*; return what each block has printed."""
        return [
            self._run(rig, block, host) for block in self.blocks if block.section == section for host in block.hosts
        ]

    def _run(self, rig: Rig, block: Block, host: str) -> str:
        # As an administrator pastes it into a root shell, and stops at what fails.
        done = rig[host].call("bash", "-lec", block.script, limit=_LIMIT)
        said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, f"{self.path.name}:{block.line} on {host} ended with {done.returncode}:\n{said}"
        return done.stdout


def _blocks(text: str) -> Iterator[Block]:
    section = ""
    place: list[str] | None = None
    script: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if script is not None:
            if _FENCE.match(line):
                if place is not None:
                    yield Block(section, place, "\n".join(script) + "\n", number - len(script))
                place = script = None
            else:
                script.append(line)
        elif found := _FENCE.match(line):
            assert place is not None or found["language"] != "sh", f"line {number}: commands without a place"
            script = []
        elif found := _PLACE.match(line):
            place = found["hosts"].split()
        elif found := _HEADING.match(line):
            section = found["title"]
