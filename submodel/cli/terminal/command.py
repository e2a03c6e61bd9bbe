"""The frame that every command runs in: nothing is overwritten, errors that a user can mend and warnings are lines."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from submodel.cli.terminal.errors import refusals
from submodel.cli.terminal.options import join_numbers
from submodel.cli.terminal.outputs import require_outputs
from submodel.cli.terminal.warning_lines import shown_warnings


class Command(TyperCommand):
    """A command of this product."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of a command line. Local."""
        repeated = (option for option in self.params if getattr(option, "multiple", False))
        sizes = {name: len((option.metavar or "").split()) for option in repeated for name in option.opts}
        return super().parse_args(ctx, join_numbers(args, {name: size for name, size in sizes.items() if size > 1}))

    def invoke(self, ctx: Any) -> Any:
        """Run the command, once it is seen that it overwrites nothing else. Collective where it is."""
        with refusals(), shown_warnings():
            require_outputs(ctx.info_name, ctx.params)
            return super().invoke(ctx)
