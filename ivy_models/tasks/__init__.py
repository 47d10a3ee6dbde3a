"""Functions from data to results: classes, masked text, optical flow, reconstructed video."""
