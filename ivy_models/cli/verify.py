"""``ivy-models verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ivy_models.cli.options import InputPath, batch_size_option, device_option
from ivy_models.ops import BACKENDS


class PublishedModel(click.ParamType):
    """A name of ``ivy-models list`` whose weights are published as a file."""

    name = "model"

    def convert(self, value, param, ctx):
        from ivy_models.errors import SpecError
        from ivy_models.verification.files import published

        try:
            published(value)
        except SpecError as error:
            self.fail(str(error), param, ctx)
        return value

    def shell_complete(self, ctx, param, incomplete):
        from ivy_models.verification.files import published_models

        return [CompletionItem(name) for name in published_models() if name.startswith(incomplete)]


@click.command()
@click.argument("names", nargs=-1, type=PublishedModel(), metavar="[NAMES]...")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(BACKENDS),
    help="Backend to run the models on; repeat for several. Default: all that are installed.",
)
@device_option
@click.option(
    "--weights",
    type=InputPath(),
    help="Local copy of the published file, for one model. Default: it is downloaded.",
)
@click.option(
    "--accept-changed",
    is_flag=True,
    help="Accept a file that differs from the one that passed first.",
)
@click.option(
    "--image",
    type=InputPath(),
    help="The photo for which results are known, 000000039769.jpg of COCO's validation images "
    "(2017). Default: it is downloaded.",
)
@click.option(
    "--imagenet",
    type=InputPath(),
    help="Also measure the accuracy on ImageNet's validation set, in this folder of class "
    "folders. Needs one --backend.",
)
@batch_size_option
def verify(
    names: tuple[str, ...],
    backends: tuple[str, ...],
    device: str | None,
    weights: Path | None,
    accept_changed: bool,
    image: Path | None,
    imagenet: Path | None,
    batch_size: int,
) -> None:
    """Check the published weights and their known results.

    NAMES are model names (see `ivy-models list`); without names, all models with published weights
    are verified. Each line is one check: right, wrong and by how much, or not run and why. If a
    check is wrong, or an error prevents it, the exit code is 1.

    Example: ivy-models verify perceiver_io_imagenet_fourier --backend torch
    """
    if weights is not None and len(names) != 1:
        raise click.UsageError("--weights is the file of one model: name that model.")
    if imagenet is not None and len(backends) != 1:
        raise click.UsageError(
            "--imagenet runs each classifier on 50,000 images: choose one --backend."
        )
    from ivy_models.verification.files import published_models
    from ivy_models.verification.photo import find_photo
    from ivy_models.verification.validation_set import read_validation_set
    from ivy_models.verification.verify import verify_model

    photo = None if image is None else find_photo(image)
    images = None if imagenet is None else read_validation_set(imagenet)
    if images is not None:
        click.echo(
            f"{len(images.images):,} images of ImageNet. If you interrupt the measurement, the "
            "same command continues it.",
            err=True,
        )
    checks = failures = 0
    for name in names or published_models():
        click.echo(name)
        for check in verify_model(
            name, weights, backends or None, photo, images, accept_changed, device, batch_size
        ):
            click.echo(f"  {check.outcome:<8} {check.what:<24} {check.detail}")
            checks, failures = checks + 1, failures + check.failed
    if failures:
        click.echo(f"{failures} of {checks} checks are wrong or were prevented.", err=True)
        sys.exit(1)
