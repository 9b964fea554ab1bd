"""What every section of the settings is: closed, immutable, and silent about its values in errors."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section, or a mapping of fields within one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)
