"""Published checkpoints: where they are, and how they get to this machine."""
