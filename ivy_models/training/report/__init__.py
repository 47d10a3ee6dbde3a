"""The report on a trained model: metrics, drawings, the worst mistakes, a model card."""

from ivy_models.training.report.write import write_report

__all__ = ["write_report"]
