"""Options under headings in --help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class GroupedOption(click.Option):
    """An option that --help lists under a heading."""

    def __init__(self, *args: Any, heading: str = "Options", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.heading = heading


def options_under(heading: str) -> Callable[..., Callable]:
    """Return ``click.option`` for options that --help lists under a heading."""

    def option(*args: Any, **kwargs: Any) -> Callable:
        return click.option(*args, cls=GroupedOption, heading=heading, **kwargs)

    return option


class GroupedCommand(click.Command):
    """A command whose --help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Argument):
                continue
            if (record := param.get_help_record(ctx)) is not None:
                headings.setdefault(getattr(param, "heading", "Other"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)
