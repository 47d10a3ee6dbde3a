"""The models that can be built by name, as data."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from typing import Any

from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.checkpoints.load import open_folder
from ivy_models.errors import SpecError, did_you_mean
from ivy_models.preprocessing import (
    ByteTokenizer,
    ClipPreprocessing,
    ImagePreprocessing,
    NgramPreprocessing,
    SoundPreprocessing,
    TablePreprocessing,
    TextColumn,
    VideoPreprocessing,
)
from ivy_models.transformers.perceiver_io.inputs import InputModality
from ivy_models.transformers.perceiver_io.queries import OutputModality
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class Preset:
    """A model that can be built by name.

    Parameters
    ----------
    description
        One line about the model.
    task
        The kind of model, such as "image classifier".
    spec
        The model's spec.
    num_parameters
        Number of trainable weights.
    weights
        The trained weights: a file to download, or the name of a folder in the package. The folder
        has the preprocessing and the labels too.
    licence
        Licence of the weights.
    accuracy
        Published accuracy of a classifier on the test set, in percent.
    preprocessing
        Converts images or clips to the data of a model to download.
    labels
        Name of the list of its class names in the package.
    tokenizer
        Converts text to the model's data.
    """

    description: str
    task: str
    spec: PerceiverIOSpec
    num_parameters: int
    weights: PublishedFile | str
    licence: str
    accuracy: float | None = None
    preprocessing: ImagePreprocessing | ClipPreprocessing | None = None
    labels: str | None = None
    tokenizer: ByteTokenizer | None = None

    def data_preprocessing(
        self,
    ) -> ImagePreprocessing | ClipPreprocessing | TablePreprocessing | None:
        """What converts images, clips or rows of a table to the model's data."""
        return self._in_package.get("preprocessing", self.preprocessing)

    def label_names(self) -> tuple[str, ...] | None:
        """Names of the classes, in the order of the outputs."""
        if "labels" in self._in_package:
            return self._in_package["labels"]
        if self.labels is None:
            return None
        text = (files("ivy_models") / "data" / f"{self.labels}_labels.txt").read_text("utf-8")
        return tuple(text.splitlines())

    @functools.cached_property
    def _in_package(self) -> dict[str, Any]:
        """The attributes that the folder in the package says, if there is one."""
        if isinstance(self.weights, PublishedFile):
            return {}
        with as_file(files("ivy_models") / "data" / self.weights) as folder:
            return open_folder(folder).read_attributes()


_STORAGE = "https://storage.googleapis.com/perceiver_io/"
_IMAGENET = ImagePreprocessing(
    size=(224, 224),
    channels=3,
    crop_fraction=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
_IMAGENET_SPEC = PerceiverIOSpec(
    input_dim=3,
    num_input_axes=2,
    output_dim=1000,
    query_shape=(1,),
    num_fourier_freq_bands=64,
    max_fourier_freq=(224, 224),
)


def _imagenet(how: str, file: str, num_parameters: int, accuracy: float, **changes) -> Preset:
    return Preset(
        description=f"ImageNet classification, {how}",
        task="image classifier",
        spec=_IMAGENET_SPEC.replace(**changes),
        num_parameters=num_parameters,
        weights=PublishedFile(_STORAGE + file),
        licence="CC BY 4.0",
        accuracy=accuracy,
        preprocessing=_IMAGENET,
        labels="imagenet",
    )


VIDEO_FRAMES = 16
VIDEO_SAMPLES = VIDEO_FRAMES * 1920
"""Samples of the video model's sound, at 48 kHz and 25 frames per second."""

_NGRAMS = NgramPreprocessing(64, sizes=(1, 2, 3, 4), vocabulary_size=1 << 16)

PRESETS = {
    "perceiver_io_imagenet_fourier": _imagenet(
        "pixels with Fourier positions",
        "imagenet_fourier_position_encoding.pystate",
        48_440_627,
        79.0,
    ),
    "perceiver_io_imagenet_learned": _imagenet(
        "pixels with learned positions",
        "imagenet_learned_position_encoding.pystate",
        62_255_848,
        72.7,
        fourier_encode_input=False,
        max_fourier_freq=None,
        stem="projection",
        stem_dim=256,
        learned_position_shape=(224, 224),
        learned_position_dim=256,
        query_residual=False,
    ),
    "perceiver_io_imagenet_conv": _imagenet(
        "a convolution with Fourier positions",
        "imagenet_conv_preprocessing.pystate",
        48_646_522,
        82.1,
        max_fourier_freq=(56, 56),
        stem="convolution",
        stem_dim=64,
    ),
    "perceiver_io_language": Preset(
        description="Masked language modelling on the bytes of a text",
        task="language model",
        spec=PerceiverIOSpec(
            input_dim=768,
            num_input_axes=1,
            output_dim=262,
            queries_dim=768,
            network_depth=1,
            num_latents=256,
            latent_dim=1280,
            num_cross_att_heads=8,
            num_self_att_heads=8,
            cross_head_dim=32,
            latent_head_dim=32,
            query_shape=(2048,),
            num_lat_att_per_layer=26,
            fourier_encode_input=False,
            learned_position_shape=(2048,),
            query_residual=False,
            reader_v_dim=1280,
            processor_v_dim=1280,
            decoder_v_dim=768,
            vocabulary_size=262,
            query_per_input=True,
            tied_head=True,
        ),
        num_parameters=201_108_230,
        weights=PublishedFile(_STORAGE + "language_perceiver_io_bytes.pickle"),
        licence="CC BY 4.0",
        tokenizer=ByteTokenizer(2048),
    ),
    "perceiver_io_optical_flow": Preset(
        description="Optical flow between two frames",
        task="model of optical flow",
        spec=PerceiverIOSpec(
            input_dim=3,
            num_input_axes=3,
            output_dim=2,
            queries_dim=322,
            network_depth=1,
            num_latents=2048,
            latent_dim=512,
            num_self_att_heads=16,
            learn_query=False,
            num_lat_att_per_layer=24,
            num_fourier_freq_bands=64,
            max_fourier_freq=(368, 496),
            stem="frame_pair",
            stem_dim=64,
            query_residual=False,
            queries_from_inputs=True,
            output_scale=20 / 100,
        ),
        num_parameters=41_057_134,
        weights=PublishedFile(_STORAGE + "optical_flow_checkpoint.pystate"),
        licence="CC BY 4.0",
    ),
    "perceiver_io_video": Preset(
        description="Autoencoding of video, sound and label",
        task="autoencoder of video",
        spec=PerceiverIOSpec(
            input_dim=704,
            num_input_axes=1,
            output_dim=512,
            queries_dim=1026,
            network_depth=1,
            num_latents=28 * 28,
            latent_dim=512,
            learn_query=False,
            num_lat_att_per_layer=8,
            fourier_encode_input=False,
            query_residual=False,
            input_modalities=(
                InputModality(
                    "audio",
                    input_dim=1,
                    num_input_axes=1,
                    num_fourier_freq_bands=192,
                    max_fourier_freq=(VIDEO_SAMPLES,),
                    patch_shape=(16,),
                ),
                InputModality(
                    "image",
                    input_dim=3,
                    num_input_axes=3,
                    num_fourier_freq_bands=32,
                    max_fourier_freq=(VIDEO_FRAMES, 56, 56),
                    patch_shape=(1, 4, 4),
                ),
                InputModality("label", input_dim=700, num_input_axes=0),
            ),
            output_modalities=(
                OutputModality(
                    "audio",
                    output_dim=1,
                    query_shape=(VIDEO_SAMPLES // 16,),
                    num_fourier_freq_bands=192,
                    max_fourier_freq=(VIDEO_SAMPLES,),
                    patch_shape=(16,),
                ),
                OutputModality(
                    "image",
                    output_dim=3,
                    query_shape=(VIDEO_FRAMES, 224, 224),
                    num_fourier_freq_bands=32,
                    max_fourier_freq=(VIDEO_FRAMES, 56, 56),
                ),
                OutputModality("label", output_dim=700, query_shape=(1,), learned_query_dim=1024),
            ),
        ),
        num_parameters=19_858_855,
        weights=PublishedFile(_STORAGE + "video_autoencoding_checkpoint.pystate"),
        licence="CC BY 4.0",
        preprocessing=ClipPreprocessing(
            VideoPreprocessing(VIDEO_FRAMES, (224, 224)), SoundPreprocessing(48000, VIDEO_SAMPLES)
        ),
        labels="kinetics700",
    ),
    "perceiver_io_digits": Preset(
        description="Handwritten digits, 8x8 pixels; trained by examples/train.py",
        task="image classifier",
        spec=PerceiverIOSpec(
            input_dim=1,
            num_input_axes=2,
            output_dim=10,
            queries_dim=64,
            network_depth=2,
            num_latents=16,
            latent_dim=64,
            num_self_att_heads=4,
            query_shape=(1,),
            num_lat_att_per_layer=2,
            num_fourier_freq_bands=4,
            max_fourier_freq=(8, 8),
        ),
        num_parameters=89_403,
        weights="perceiver_io_digits",
        licence="Apache 2.0",
        accuracy=98.6,
    ),
    "perceiver_io_languages": Preset(
        description="The language of a text, of 97; trained by ivy-models train",
        task="language identifier",
        spec=PerceiverIOSpec(
            input_dim=40,
            num_input_axes=1,
            output_dim=97,
            queries_dim=96,
            network_depth=1,
            num_latents=4,
            latent_dim=96,
            num_cross_att_heads=4,
            num_self_att_heads=4,
            query_shape=(),
            num_lat_att_per_layer=1,
            fourier_encode_input=False,
            input_modalities=TablePreprocessing([TextColumn("text", _NGRAMS)]).modalities(dim=32),
        ),
        num_parameters=2_258_425,
        weights="perceiver_io_languages",
        licence="Apache 2.0",
    ),
    "perceiver_io_fashion": Preset(
        description="Clothing, 28x28 grey pixels (Fashion-MNIST); trained by ivy-models train",
        task="image classifier",
        spec=PerceiverIOSpec(
            input_dim=1,
            num_input_axes=2,
            output_dim=10,
            queries_dim=96,
            network_depth=1,
            num_latents=16,
            latent_dim=96,
            num_cross_att_heads=4,
            num_self_att_heads=4,
            cross_head_dim=24,
            query_shape=(),
            num_lat_att_per_layer=2,
            num_fourier_freq_bands=4,
            stem="two_convolutions",
            stem_dim=48,
        ),
        num_parameters=243_358,
        weights="perceiver_io_fashion",
        licence="Apache 2.0",
        accuracy=92.2,
    ),
}


def preset_named(name: str) -> Preset:
    """Find a model by its name.

    Raises
    ------
    SpecError
        If there is no such model.
    """
    if name not in PRESETS:
        raise SpecError(f"There is no model {name!r}. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a pattern such as ``"*imagenet*"``."""
    return [name for name in PRESETS if fnmatchcase(name, pattern)]
