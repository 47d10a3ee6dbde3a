"""``ivy-models list``."""

from __future__ import annotations

import json

import click


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def list_command(pattern: str, as_json: bool) -> None:
    """List the models whose names match PATTERN.

    If no name matches, the exit code is 1.

    Example: ivy-models list "*imagenet*"
    """
    from ivy_models.cli.described import facts_of
    from ivy_models.models.presets import PRESETS, list_models

    names = list_models(pattern)
    if as_json:
        models = [{"model": name, **facts_of(PRESETS[name])} for name in names]
        click.echo(json.dumps(models, indent=2))
    for name in [] if as_json else names:
        click.echo(f"{name:<32} {PRESETS[name].description}")
    if not names:
        raise click.ClickException(f"No model matches {pattern!r}; see `ivy-models list`.")
