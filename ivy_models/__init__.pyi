"""What type checkers, and ``lazy_exports``, know of the package's public names."""

from ivy_models.interpret.attention_maps import (
    AttentionMaps as AttentionMaps,
    attention_maps as attention_maps,
)
from ivy_models.interpret.depth import latents_over_depth as latents_over_depth
from ivy_models.interpret.drawing import (
    draw_attention as draw_attention,
    draw_flow_arrows as draw_flow_arrows,
    draw_latents as draw_latents,
    draw_letters as draw_letters,
    draw_predictions as draw_predictions,
    draw_reconstruction as draw_reconstruction,
)
from ivy_models.interpret.letters import attention_to_letters as attention_to_letters
from ivy_models.interpret.rollout import attention_rollout as attention_rollout
from ivy_models.models.factories import (
    create_model as create_model,
    perceiver_io_img_classification as perceiver_io_img_classification,
    perceiver_io_language as perceiver_io_language,
    perceiver_io_optical_flow as perceiver_io_optical_flow,
    perceiver_io_video as perceiver_io_video,
)
from ivy_models.models.presets import list_models as list_models
from ivy_models.models.sizes import spec_for as spec_for
from ivy_models.shells.accelerate import accelerate as accelerate
from ivy_models.shells.onnx_model import OnnxModel as OnnxModel
from ivy_models.tasks.classification import (
    Prediction as Prediction,
    classify as classify,
    classify_each as classify_each,
)
from ivy_models.tasks.decoding import decode_in_chunks as decode_in_chunks
from ivy_models.tasks.flow import (
    draw_flow as draw_flow,
    estimate_flow as estimate_flow,
    read_flo as read_flo,
    read_kitti_flow as read_kitti_flow,
    write_flo as write_flo,
)
from ivy_models.tasks.identification import (
    Language as Language,
    identify_language as identify_language,
    identify_languages as identify_languages,
)
from ivy_models.tasks.language import (
    Candidate as Candidate,
    fill_mask as fill_mask,
)
from ivy_models.tasks.prediction import (
    Predicted as Predicted,
    predict as predict,
)
from ivy_models.tasks.video import (
    Reconstruction as Reconstruction,
    reconstruct_video as reconstruct_video,
)
from ivy_models.transformers import perceiver_io as perceiver_io
from ivy_models.transformers.perceiver_io import (
    PerceiverIO as PerceiverIO,
    PerceiverIOSpec as PerceiverIOSpec,
)
from ivy_models.verification.verify import verify_model as verify_model

__version__: str
