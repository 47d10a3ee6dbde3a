"""What type checkers, and ``lazy_exports``, know of the package's public names."""

from ivy_models.layers.features import (
    Features as Features,
    Inputs as Inputs,
)
from ivy_models.layers.parameters import initialise as initialise
from ivy_models.layers.patches import (
    depth_to_space as depth_to_space,
    space_to_depth as space_to_depth,
)
from ivy_models.layers.position_encoding import (
    FourierPositionEncoding as FourierPositionEncoding,
)
from ivy_models.layers.streaming.layer import (
    GridCrossAttention as GridCrossAttention,
)
from ivy_models.models.factories import (
    perceiver_io_img_classification as perceiver_io_img_classification,
    perceiver_io_language as perceiver_io_language,
    perceiver_io_optical_flow as perceiver_io_optical_flow,
    perceiver_io_video as perceiver_io_video,
)
from ivy_models.shells.ivy import PerceiverIO as PerceiverIO
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore as PerceiverIOCore
from ivy_models.transformers.perceiver_io.costs import (
    Cost as Cost,
    model_costs as model_costs,
)
from ivy_models.transformers.perceiver_io.decoder import Decoder as Decoder
from ivy_models.transformers.perceiver_io.inputs.coordinates import (
    CoordinateInput as CoordinateInput,
)
from ivy_models.transformers.perceiver_io.inputs.grid import (
    GridAdapter as GridAdapter,
    LearnedPositions as LearnedPositions,
)
from ivy_models.transformers.perceiver_io.inputs.modalities import (
    InputModality as InputModality,
    MultimodalInput as MultimodalInput,
)
from ivy_models.transformers.perceiver_io.inputs.tokens import TokenAdapter as TokenAdapter
from ivy_models.transformers.perceiver_io.processor import Processor as Processor
from ivy_models.transformers.perceiver_io.queries.modalities import (
    MultimodalOutput as MultimodalOutput,
    OutputModality as OutputModality,
)
from ivy_models.transformers.perceiver_io.reader import Reader as Reader
from ivy_models.transformers.perceiver_io.resampler.resample import resample as resample
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec as ResamplerSpec
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec as PerceiverIOSpec
