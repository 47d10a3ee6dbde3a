"""What the models are built of, as functions of weights and arrays: attention, MLPs, positions."""
