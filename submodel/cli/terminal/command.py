"""The frame that every command runs in: whatever a user can mend ends as one line."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from submodel.cli.terminal.errors import refusals


class Command(TyperCommand):
    """A command of this product."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Collective where it is."""
        with refusals():
            return super().invoke(ctx)
