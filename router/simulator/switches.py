"""Unknown details of GPFS, as switches of the simulator.  Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Behaviour(BaseModel):
    """Unknown details of GPFS, as switches; each default is what is recalled, or otherwise the stricter choice.

    The arguments of a command:
    `value_with_blanks`: whether a value with blanks is one argument, or is split into several.
    `undefined`: what replaces a variable that does not apply: the word `UNDEFINED`, an empty argument, the
    literal `%name`, or no argument at all.
    `inside_words`: whether `key=%name` in one word is replaced.
    `node_names`: whether a node variable without a qualifier gives full names or short ones.
    `snapshot_fileset`: whether a snapshot of a whole file system has the fileset `global`, or none.

    What mmaddcallback accepts:
    `unknown_variable`: whether a registration with an unknown `%name` is refused, or passes the literal on.
    `unknown_events`: whether an event that this release lacks is refused, or accepted but never raised.
    `release`, `lacks`: which events exist: `6.0` has all events of the catalogue, the others those known to have
    existed by then; *lacks* names further events that are missing.
    `event_case`: whether `--event` needs the exact spelling, or accepts any case and the spellings of IBM's pages.
    `callback_case`: whether identifiers that differ only in case are two callbacks, or one.
    `mixed_scopes`: whether one registration may name both global and local events.
    `missing_program`: whether a command that is missing on a node of its registration is refused, or accepted.
    `program_in_gpfs`: whether a command that lies in a file system of the cluster is refused, or accepted.

    Where and how callbacks run:
    `quorum_reached`: whether quorumReached runs only on the new cluster manager, or on every registered node.
    `afm_scope`: whether afmFilesetExpired and afmFilesetUnexpired are global, or local to the gateway.
    `new_nodes`: whether a registration without `-N` covers nodes that are added later.
    `propagation`: for how many events the slowest nodes use the old registrations; 0 means not at all.
    `environment`: whether a command's environment is empty, or has the variables that the daemon may have.
    `output`: where stdout and stderr go: the node's log, nowhere, or a pipe that nobody reads.
    `past_timeout`: whether a synchronous command is left running after its timeout, or killed.

    The output with `-Y`:
    `listing`: whether mmlscallback prints the assumed columns, other columns in another order, or refuses `-Y` like
    4.2 (mmlssnapshot too).
    `rows`: whether all rows are as long as their header, or some are shorter or longer and the header is repeated.
    `percent`: whether a percent sign is written as `%25`, or unchanged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value_with_blanks: Literal["kept", "split"] = "kept"
    undefined: Literal["word", "empty", "literal", "missing"] = "word"
    inside_words: Literal["kept", "replaced"] = "kept"
    node_names: Literal["full", "short"] = "full"
    snapshot_fileset: Literal["global", "undefined"] = "global"
    unknown_variable: Literal["refused", "literal"] = "refused"
    unknown_events: Literal["refused", "taken"] = "refused"
    release: Literal["4.2", "5.0", "6.0"] = "6.0"
    lacks: tuple[str, ...] = ()
    event_case: Literal["exact", "any"] = "exact"
    callback_case: Literal["distinguished", "ignored"] = "distinguished"
    mixed_scopes: Literal["taken", "refused"] = "taken"
    missing_program: Literal["refused", "taken"] = "refused"
    program_in_gpfs: Literal["refused", "taken"] = "refused"
    quorum_reached: Literal["manager", "all"] = "manager"
    afm_scope: Literal["global", "local"] = "global"
    new_nodes: Literal["covered", "left_out"] = "covered"
    propagation: int = Field(default=0, ge=0, le=1000)
    environment: Literal["empty", "daemon"] = "empty"
    output: Literal["log", "nowhere", "broken_pipe"] = "log"
    past_timeout: Literal["left", "killed"] = "left"
    listing: Literal["columns", "other_columns", "refused"] = "columns"
    rows: Literal["exact", "ragged"] = "exact"
    percent: Literal["encoded", "kept"] = "encoded"

    @field_validator("lacks", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Also accept a list of names as one text, as the command line passes it."""
        return tuple(each for each in value.split(",") if each) if isinstance(value, str) else value

    @property
    def short_of_rows(self) -> bool:
        """Whether mmlscallback and mmlssnapshot lack `-Y`, as in the documentation of 4.2.0."""
        return self.listing == "refused" or self.release == "4.2"
