"""The report on a trained model: metrics, drawings, the worst mistakes, a model card."""
