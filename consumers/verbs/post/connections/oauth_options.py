"""The options of OAuth 2.0 client credentials: how a webhook gets the token that its receiver asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from router.references import REFERENCE
from router.settings.field_types import Checked, whole
from router.settings.secret_references import Reference

from ....config import secrets
from ....config.event_samples import Remark
from ....config.field_types import Closed
from ..urls import ADDRESS, url

_LINE = r"[!-~](?:[ -~]{0,998}[!-~])?"
Line = Annotated[str, Field(pattern=f"^(?:{_LINE})$")]


class OAuthOptions(Closed):
    """A token is fetched by client credentials, kept until shortly before it expires, and sent as `Bearer`."""

    token_url: Annotated[str, Checked(url, whole(rf"{REFERENCE}|{ADDRESS}")), Field(repr=False)]
    """The address that gives tokens, or a reference to it."""
    client_id: Line
    """The name of this client."""
    client_secret: Reference = Field(repr=False)
    """A reference to the secret of this client."""
    scope: Line | None = None
    """The scopes to ask for, separated by blanks."""
    audience: Line | None = None
    """Whom the token is for, if the server asks for it."""
    send: Literal["basic", "body"] = "basic"
    """Where the secret is sent: in the header `Authorization`, or in the body."""

    def remarks_here(self) -> Iterator[Remark]:
        """Yield warnings about secrets that are missing or open to others."""
        for name in ("token_url", "client_secret"):
            reference = getattr(self, name)
            if not reference.startswith(("http://", "https://")) and (problem := secrets.problem(reference)):
                yield Remark(("oauth", name), problem, warning=True)
