"""``ivy-models fill-mask``."""

from __future__ import annotations

import json

import click

from ivy_models.cli.options import model_options


@click.command("fill-mask")
@click.argument("text")
@model_options("perceiver_io_language", "language model")
@click.option(
    "--top",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Number of candidates for each mask.",
)
@click.option(
    "--length",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of bytes that each mask stands for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each mask.")
def fill_mask(text: str, load, top: int, length: int, as_json: bool) -> None:
    """Print the most probable texts for each [MASK] in TEXT.

    Example: ivy-models fill-mask "Some words are [MASK]." --length 7
    """
    from ivy_models.tasks.language import check_masks, fill_mask as candidates_for

    check_masks(text)
    for number, candidates in enumerate(candidates_for(load(), text, top, length), 1):
        if as_json:
            fields = {"mask": number, "candidates": [c._asdict() for c in candidates]}
            click.echo(json.dumps(fields))
            continue
        click.echo(f"[MASK] {number}:")
        for candidate, probability in candidates:
            click.echo(f"  {probability:6.1%}  {candidate!r}")
