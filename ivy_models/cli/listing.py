"""``ivy-models list``."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("pattern", default="*")
def list_command(pattern: str) -> None:
    """List the models whose names match PATTERN.

    Example: ivy-models list "*imagenet*"
    """
    from ivy_models import list_models
    from ivy_models.models.presets import PRESETS

    for name in list_models(pattern):
        click.echo(f"{name:<32} {PRESETS[name].description}")
