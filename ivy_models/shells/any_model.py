"""What the tasks run."""

from __future__ import annotations

from typing import TypeAlias

from ivy_models.shells.ivy import PerceiverIO
from ivy_models.shells.onnx_model import OnnxModel

AnyModel: TypeAlias = PerceiverIO | OnnxModel
"""A model on one of Ivy's backends, or in an engine."""
