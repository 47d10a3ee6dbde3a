"""``python -m ivy_models``: the command line."""

from ivy_models.cli import main

main(prog_name="ivy-models")
