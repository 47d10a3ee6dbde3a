"""``ivy-models demo``."""

from __future__ import annotations

import socket

import click

from ivy_models.cli.options import ModelName, device_option
from ivy_models.errors import not_installed
from ivy_models.ops import BACKENDS, ops_named


@click.command()
@click.option(
    "--model",
    "models",
    type=ModelName(),
    multiple=True,
    default=["perceiver_io_fashion"],
    show_default="perceiver_io_fashion",
    help="Model name (see `ivy-models list`) or folder. Repeat for several; the first one is "
    "selected when the page opens.",
)
@click.option(
    "--backend",
    default="numpy",
    show_default=True,
    type=click.Choice(BACKENDS),
    help="Backend that is selected when the page opens.",
)
@device_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="IPv4 address to listen on. Everyone who can reach this address can use the page; the "
    "default is this machine only.",
)
@click.option(
    "--port",
    default=7860,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
def demo(models, backend: str, device: str | None, host: str, port: int, browser: bool) -> None:
    """Serve a local web page that classifies images.

    Draw or drop an image, choose a model and a backend, and see the labels and where the model
    looked. The page offers all image classifiers of `ivy-models list` and the folders given by
    --model. Published weights are downloaded on first use. Press Ctrl-C to stop.

    Example: ivy-models demo --backend torch
    """
    import webbrowser

    _check_models(models)
    try:
        from ivy_models.demo.server import make_server
    except ModuleNotFoundError as error:
        raise not_installed("The demo needs", error, "demo") from error
    ops_named(backend).check_device(device)
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        # Drop the address, which the message already names.
        reason = str(error.strerror).partition(" (while")[0]
        raise click.ClickException(
            f"Cannot serve at {host}, port {port}: {reason}. Choose another --port, or 0 for a "
            "free one."
        ) from error
    server = make_server(listening, models, backend, device)
    url = f"http://{host}:{listening.getsockname()[1]}/"
    click.echo(f"{url} (press Ctrl-C to stop)")
    if browser:
        webbrowser.open(url)
    server.serve_forever()


def _check_models(models: tuple[str, ...]) -> None:
    """Refuse models that are not image classifiers before the page offers them."""
    from ivy_models.cli.described import describe
    from ivy_models.preprocessing import ImagePreprocessing
    from ivy_models.preprocessing.targets import ClassTarget

    for model in models:
        described = describe(model)
        is_classifier = described.preset is None or described.preset.task == "image classifier"
        has_one_class = not described.targets or (
            len(described.targets) == 1 and isinstance(described.targets[0], ClassTarget)
        )
        reads_images = isinstance(described.preprocessing, ImagePreprocessing)
        if not (is_classifier and has_one_class and reads_images):
            raise click.UsageError(
                f"{model} is not an image classifier with image preprocessing; see `ivy-models "
                "list`. For models of other data use `ivy-models predict`."
            )
