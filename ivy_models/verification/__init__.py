"""Checks of the published weights: their files, known results, and accuracy on ImageNet."""
