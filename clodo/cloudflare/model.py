"""The shape that every answer of Cloudflare is read into: frozen, and blind to fields we don't use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A value that Cloudflare answered; fields that it lacks are ignored, its own are those of the official SDK."""

    # Names of fields may differ from the wire's ("workers/tag"); values never appear in a validation error.
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)
