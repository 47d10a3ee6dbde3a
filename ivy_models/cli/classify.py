"""``ivy-models classify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ivy_models.cli.folders import list_files, select_files
from ivy_models.cli.options import InputPath, batch_size_option, format_options, model_options
from ivy_models.cli.records import FORMATS


@click.command()
@click.argument("sources", nargs=-1, type=InputPath(stdin=True), metavar="FILES...")
@click.option(
    "--files-from",
    type=click.File("r", encoding="utf-8", errors="surrogateescape"),
    help="File with the paths of more files, one per line. A dash (-) is stdin.",
)
@model_options("perceiver_io_digits", "image classifier")
@batch_size_option
@click.option(
    "--top",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Number of labels for each file.",
)
@format_options(*FORMATS)
def classify(sources, files_from, load, batch_size: int, top: int, output_format: str) -> None:
    """Print the most probable labels of images, sounds or texts.

    FILES are files or folders. Folders are searched recursively; files that the model cannot read
    are skipped and named on stderr. A dash (-) reads one file from stdin. Each result
    is printed as soon as it is known. If a file cannot be read, the others are still classified
    and the exit code is 1.

    Example: ivy-models classify photos --format jsonl > labels.jsonl
    """
    from tqdm import tqdm

    from ivy_models.preprocessing.prepared import kind_read_by
    from ivy_models.tasks.classification import check_classifier, classify_each

    if files_from is not None:
        sources += tuple(map(Path, files_from.read().splitlines()))
    if not sources:
        raise click.UsageError("Name at least one file or folder.")
    listed = list_files(sources)
    classifier = load()
    check_classifier(classifier)
    if kind_read_by(classifier.preprocessing) == "table":
        raise click.UsageError(
            "The model reads rows of a table. Use ivy-models predict MODEL DATA instead."
        )
    paths = select_files(listed, classifier.preprocessing)
    record, failures = FORMATS[output_format](), 0
    # Results printed to the same terminal would break the bar.
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    with tqdm(total=len(paths), unit="file", disable=hidden) as bar:
        for path, predictions, error in classify_each(classifier, paths, top, batch_size):
            if error is not None:
                failures += 1
                tqdm.write(f"Error: {error}", file=sys.stderr)
            click.echo(record(path, predictions, error), nl=False)
            bar.update()
    if failures:
        click.echo(f"{failures} of {len(paths)} files could not be classified.", err=True)
        sys.exit(1)
