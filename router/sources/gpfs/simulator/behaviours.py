"""What is not known of GPFS, as switches of the simulator.  Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Behaviour(BaseModel):
    """What is not known of GPFS, as switches; the defaults are what is recalled, else the stricter choice.

    What a command is given:
    `value_with_blanks`: a value with blanks is one argument, or is cut again into several.
    `undefined`: what stands for a variable that does not apply: the word `UNDEFINED`, an empty argument, the
    literal `%name`, or no argument at all.
    `inside_words`: whether `key=%name` in one word is replaced.
    `node_names`: whether a bare node variable gives full names or short ones.
    `snapshot_fileset`: a snapshot of a whole file system says `global` for its fileset, or that it does not apply.

    What mmaddcallback takes:
    `unknown_variable`: whether a registration with an unknown `%name` is refused, or hands on the literal.
    `unknown_events`: whether an event that this release lacks is refused, or taken, and never happens.
    `release`, `lacks`: which events there are: `6.0` has all of the catalogue, the others what is known to have been
    there by then; *lacks* names further ones that are not there.
    `event_case`: whether `--event` wants the exact spelling, or takes any case and the spellings IBM's pages use.
    `callback_case`: whether identifiers that differ in case only are two callbacks, or one.
    `mixed_scopes`: whether one registration may name global and local events.
    `missing_program`: whether a command that is not on every node of its registration is refused, or taken.
    `program_in_gpfs`: whether a command that lies in a file system of the cluster is refused, or taken.

    Where and how callbacks run:
    `quorum_reached`: whether quorumReached runs on the new cluster manager only, or on every registered node.
    `afm_scope`: whether afmFilesetExpired and afmFilesetUnexpired are global, or local to the gateway.
    `new_nodes`: whether a registration without `-N` covers nodes that are added later.
    `propagation`: for how many events the slowest nodes go by the old registrations; 0 is none.
    `environment`: whether a command's environment is empty, or has what the daemon's own might have.
    `output`: where stdout and stderr go: the node's log, nowhere, or a pipe that nobody reads any more.
    `past_timeout`: whether a synchronous command past its timeout is left alone, or killed.

    What is printed with `-Y`:
    `listing`: mmlscallback has the columns that it is taken to have, other ones in another order, or refuses `-Y` as
    4.2 does (mmlssnapshot too).
    `rows`: all rows are as long as their header, or some shorter, some longer, and the header comes again.
    `percent`: whether a percent sign is written as `%25`, or as it is.
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
        """Take a list of names as one text too, as the command line gives it."""
        return tuple(each for each in value.split(",") if each) if isinstance(value, str) else value

    @property
    def short_of_rows(self) -> bool:
        """Whether mmlscallback and mmlssnapshot have no `-Y`, which their pages of 4.2.0 do not have."""
        return self.listing == "refused" or self.release == "4.2"
