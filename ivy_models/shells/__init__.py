"""Models as modules of their frameworks: each owns weights and calls the core, nothing else."""
