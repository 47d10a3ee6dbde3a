"""Functions that build models, by purpose and by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ivy_models.arrays import current_ops
from ivy_models.base.fields import check_field_names
from ivy_models.checkpoints.check import (
    CheckedWeights,
    check_spec,
    differing_fields,
    fresh_branches,
)
from ivy_models.checkpoints.download.cache import PublishedFile, download
from ivy_models.checkpoints.load import load_checked
from ivy_models.errors import SpecError, WeightsError
from ivy_models.layers.parameters import Tree, is_within
from ivy_models.models.presets import PRESETS, Preset, preset_named
from ivy_models.preprocessing import (
    ByteTokenizer,
    ClipPreprocessing,
    TablePreprocessing,
    VideoPreprocessing,
)
from ivy_models.shells.ivy import PerceiverIO
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.inputs.grid import CONVOLUTIONS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


def perceiver_io_img_classification(
    spec: PerceiverIOSpec,
    pretrained: bool = True,
    *,
    weights: str | Path | None = None,
    fresh: Sequence[str] = (),
    seed: int = 0,
) -> PerceiverIO:
    """Build an image classifier, by default with the published ImageNet weights.

    The published model is the one whose inputs the spec describes: with Fourier positions,
    learned positions, or a convolution.

    Parameters
    ----------
    spec
        The model's description. If weights are loaded into a published architecture and
        ``max_fourier_freq`` is None, it becomes the published value: the bands resolve
        (224, 224) at any image size.
    pretrained
        Whether to load the published weights: from the cache, or downloaded (about 200 MB).
    weights
        A local file or folder to load instead.
    fresh
        Branches of the weights to draw at random instead of loading, as in
        :func:`create_model`.
    seed
        Seed of the random weights.

    Returns
    -------
    PerceiverIO
        Images (*batch, height, width, 3) in, logits (*batch, 1, 1000) out.

    Raises
    ------
    BackendError
        If the spec's device is not available.
    DownloadError
        If the published weights cannot be downloaded.
    SpecError
        If ``fresh`` names a branch that the model does not have, or no weights are loaded.
    WeightsError
        If the spec does not describe the model of the weights (the message has a table of the
        fields that differ), or the file is broken.
    """
    preset = _published_like(spec)
    if spec.max_fourier_freq is None and (pretrained or weights is not None):
        published_bands = spec.replace(max_fourier_freq=preset.spec.max_fourier_freq)
        if weights is None or not differing_fields(preset.spec, published_bands, fresh):
            spec = published_bands
    return _build(preset, spec, pretrained, weights, fresh, seed)


def perceiver_io_language(
    spec: PerceiverIOSpec | None = None,
    pretrained: bool = True,
    *,
    weights: str | Path | None = None,
    fresh: Sequence[str] = (),
    seed: int = 0,
) -> PerceiverIO:
    """Build a masked language model on bytes, by default the published one.

    Parameters
    ----------
    spec
        The model's description. None: the published model's.
    pretrained
        Whether to load the published weights: from the cache, or downloaded (about 800 MB).
    weights, fresh, seed
        As in :func:`perceiver_io_img_classification`.

    Returns
    -------
    PerceiverIO
        Tokens (*batch, length) in, logits (*batch, length, 262) out. ``model.tokenizer`` converts
        text to tokens.

    Raises
    ------
    BackendError, DownloadError, SpecError, WeightsError
        As :func:`perceiver_io_img_classification`.
    """
    return _build(PRESETS["perceiver_io_language"], spec, pretrained, weights, fresh, seed)


def perceiver_io_optical_flow(
    spec: PerceiverIOSpec | None = None,
    pretrained: bool = True,
    *,
    weights: str | Path | None = None,
    fresh: Sequence[str] = (),
    seed: int = 0,
) -> PerceiverIO:
    """Build a model of optical flow, by default the published one.

    Parameters
    ----------
    spec
        The model's description. None: the published model's.
    pretrained
        Whether to load the published weights: from the cache, or downloaded (about 160 MB).
    weights, fresh, seed
        As in :func:`perceiver_io_img_classification`.

    Returns
    -------
    PerceiverIO
        Pairs of frames (*batch, 2, height, width, 3) in [-1, 1] in, flow (*batch, height,
        width, 2) out: how far each pixel moves from the first frame to the second, in pixels,
        to the right and down.

    Raises
    ------
    BackendError, DownloadError, SpecError, WeightsError
        As :func:`perceiver_io_img_classification`.
    """
    return _build(PRESETS["perceiver_io_optical_flow"], spec, pretrained, weights, fresh, seed)


def perceiver_io_video(
    spec: PerceiverIOSpec | None = None,
    pretrained: bool = True,
    *,
    weights: str | Path | None = None,
    fresh: Sequence[str] = (),
    seed: int = 0,
) -> PerceiverIO:
    """Build an autoencoder of video with sound and label, by default the published one.

    Parameters
    ----------
    spec
        The model's description. None: the published model's.
    pretrained
        Whether to load the published weights: from the cache, or downloaded (about 80 MB).
    weights, fresh, seed
        As in :func:`perceiver_io_img_classification`.

    Returns
    -------
    PerceiverIO
        In: "image" (*batch, 16, 224, 224, 3) in [0, 1], "audio" (*batch, 30720, 1) in [-1, 1] and,
        if it is known, "label" (*batch, 700), one-hot. Out: all three, the label as logits
        (*batch, 1, 700).

    Raises
    ------
    BackendError, DownloadError, SpecError, WeightsError
        As :func:`perceiver_io_img_classification`.
    """
    return _build(PRESETS["perceiver_io_video"], spec, pretrained, weights, fresh, seed)


def create_model(
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    device: Any = None,
    dtype: Any = None,
    seed: int = 0,
    fresh: Sequence[str] = (),
    **spec_overrides: Any,
) -> PerceiverIO:
    """Build a model by its name.

    Parameters
    ----------
    name
        One of :func:`.list_models`.
    pretrained
        Whether to load the trained weights: from the package, the cache, or downloaded.
    weights
        A local file or folder to load instead.
    device, dtype
        As in :class:`.PerceiverIOSpec`.
    seed
        Seed of the random weights.
    fresh
        Branches of the weights to draw at random instead of loading, such as
        ``("queries", "decoder")`` for a new task. Fields of the spec that only affect these
        branches may differ from the trained model's.
    spec_overrides
        Fields of the model's :class:`.PerceiverIOSpec` to change.

    Raises
    ------
    SpecError
        If there is no such model, field or branch, or ``fresh`` is given but no weights are
        loaded.
    BackendError, DownloadError, WeightsError
        As :func:`perceiver_io_img_classification`.
    """
    preset = preset_named(name)
    check_field_names(PerceiverIOSpec, spec_overrides, ("pretrained", "weights", "fresh", "seed"))
    changes = {"device": device, **spec_overrides}
    if dtype is not None:
        changes["dtype"] = dtype
    return _build(preset, preset.spec.replace(**changes), pretrained, weights, fresh, seed)


def _published_like(spec: PerceiverIOSpec) -> Preset:
    if spec.stem in CONVOLUTIONS:
        return PRESETS["perceiver_io_imagenet_conv"]
    if spec.learned_position_shape is not None:
        return PRESETS["perceiver_io_imagenet_learned"]
    return PRESETS["perceiver_io_imagenet_fourier"]


def _build(
    preset: Preset,
    spec: PerceiverIOSpec | None,
    pretrained: bool,
    weights: str | Path | None,
    fresh: Sequence[str],
    seed: int,
) -> PerceiverIO:
    spec = spec or preset.spec
    current_ops().check_device(spec.device)  # before a long download
    v: CheckedWeights | None = None
    description = PerceiverIOCore(spec).parameters()
    fresh = fresh_branches(description, fresh)
    if weights is not None:
        v = load_checked(weights, spec, description, fresh, seed)
    elif pretrained:
        v = _load_published(preset, spec, description, fresh, seed)
    elif fresh:
        raise SpecError(
            "fresh names branches not to load, but no weights are loaded. Leave it out, or pass "
            "pretrained=True or weights=."
        )
    model = PerceiverIO(spec, seed=seed, v=v)
    if preset.tokenizer is not None and spec.vocabulary_size == preset.spec.vocabulary_size:
        model.tokenizer = ByteTokenizer(*spec.learned_position_shape or ())
    preprocessing = preset.data_preprocessing()
    if isinstance(preprocessing, ClipPreprocessing):
        model.preprocessing = _clip_preprocessing(preprocessing, spec)
    elif isinstance(preprocessing, TablePreprocessing):
        if spec.input_modalities == preset.spec.input_modalities:
            model.preprocessing = preprocessing
    elif (
        preprocessing is not None
        and spec.input_dim == preset.spec.input_dim
        and spec.num_input_axes == 2
    ):
        size = spec.learned_position_shape or preprocessing.size
        model.preprocessing = replace(preprocessing, size=size)
    if _num_classes(spec) == _num_classes(preset.spec) and not _has_fresh_head(spec, fresh):
        model.labels = preset.label_names()
    return model


def _clip_preprocessing(
    published: ClipPreprocessing, spec: PerceiverIOSpec
) -> ClipPreprocessing | None:
    """Preprocessing of clips to the size of an autoencoder's outputs; None for other models."""
    inputs = {modality.name: modality.num_input_axes for modality in spec.input_modalities or ()}
    outputs = {m.name: m.output_shape for m in spec.output_modalities or ()}
    axes = {name: len(shape) for name, shape in outputs.items()}
    clip = {"image": 3, "audio": 1}.items()
    if not (clip <= inputs.items() and clip <= axes.items() and "label" in outputs):
        return None
    num_frames, height, width = outputs["image"]
    return ClipPreprocessing(
        VideoPreprocessing(num_frames, (height, width)),
        replace(published.sound, num_samples=outputs["audio"][0]),
    )


def _num_classes(spec: PerceiverIOSpec) -> int:
    """Channels of the output, or of the label if there are several outputs."""
    channels = {modality.name: modality.output_dim for modality in spec.output_modalities or ()}
    return channels.get("label", spec.output_dim)


def _has_fresh_head(spec: PerceiverIOSpec, fresh: Sequence[str]) -> bool:
    head = "decoder/head" if spec.output_modalities is None else "outputs/label"
    return is_within(f"{head}/weight", fresh)


def _load_published(
    preset: Preset, spec: PerceiverIOSpec, description: Tree, fresh: Sequence[str], seed: int
) -> CheckedWeights:
    if isinstance(preset.weights, PublishedFile):
        check_spec(preset.spec, spec, "the published weights", fresh)  # before a long download
        path = download(preset.weights)
        try:
            return load_checked(path, spec, description, fresh, seed)
        except WeightsError as error:
            raise WeightsError(
                f"{error}\nThis is not the published file. Remove {path}; the next call downloads "
                "it again."
            ) from error
    with as_file(files("ivy_models") / "data" / preset.weights) as folder:
        return load_checked(folder, spec, description, fresh, seed)
