"""The frame that every command runs in: whatever a user can mend ends as one line."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from submodel.cli.terminal.errors import refusals
from submodel.cli.terminal.outputs import require_outputs


class Command(TyperCommand):
    """A command of this product."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, once it is seen that it overwrites nothing else. Collective where it is."""
        with refusals():
            require_outputs(ctx.info_name, ctx.params)
            return super().invoke(ctx)
