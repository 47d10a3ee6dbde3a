"""The parts of ``examples/train.py``: data, a trainer for each framework, checkpoints, records."""
