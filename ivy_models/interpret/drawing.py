"""Drawings of a model's attention, latents and results. Importing this does not load matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError, not_installed
from ivy_models.preprocessing.image import read_rgb
from ivy_models.tasks.classification import Prediction
from ivy_models.tasks.flow import check_flow, draw_flow
from ivy_models.tasks.video import Reconstruction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Places = Axes | Sequence[Axes] | None
    """The axes to draw on; None: a new figure."""

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"
"""Blue and orange of the colour-blind safe palette of Okabe and Ito, and a grey."""

WEIGHTS, SIGNED = "Oranges", "PuOr_r"
"""Colour maps for numbers of at least 0, and for numbers of both signs."""

COLUMNS = 8
"""Maximum number of drawings side by side in a new figure."""

ARROWS = 12
"""Number of arrows along the longer side of a flow field."""


def draw_attention(
    weights: Any, image: Any = None, titles: Sequence[str] = (), axes: Places = None
) -> Figure:
    """Draw attention weights over a pale image, which strong weights cover.

    All maps of a figure share one colour scale, drawn beside them.

    Parameters
    ----------
    weights
        (height, width), or (n, height, width) for several maps, such as one per latent or head.
        A map may be coarser than the image, for example with one weight per patch.
    image
        An image that ``ImagePreprocessing`` accepts, for all maps, or a list with one image per
        map; None: only the weights are drawn.
    titles
        One title per map.
    axes
        Matplotlib axes to draw on, one per map; None: a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; save it with ``savefig``.

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If a shape is wrong, or the number of images, titles or axes differs from that of maps.
    """
    weights = to_numpy(weights, "weights")
    if weights.ndim not in (2, 3) or 0 in weights.shape:
        raise InputError(
            f"weights have shape {weights.shape}; expected (height, width) or (n, height, width): "
            "choose an element of the batch, and a head or a latent."
        )
    weights = weights.reshape(-1, *weights.shape[-2:])
    if titles and len(titles) != len(weights):
        raise InputError(
            f"Expected a title for each of {len(weights)} maps, got {len(titles)} titles."
        )
    images = image if isinstance(image, (list, tuple)) else len(weights) * [image]
    if len(images) != len(weights):
        raise InputError(
            f"Expected one image, or one for each of {len(weights)} maps; got {len(images)} images."
        )
    images = [None if x is None else read_rgb(x) for x in images]
    height, width = (weights[0] if images[0] is None else images[0]).shape[:2]
    axes, strongest = _axes(axes, len(weights), width / height), max(float(weights.max()), 1e-30)
    look: dict[str, Any] = {"cmap": WEIGHTS, "vmin": 0, "vmax": strongest}
    for place, title, drawn, below in zip(
        axes, titles or [""] * len(axes), weights, images, strict=True
    ):
        if below is None:
            place.imshow(drawn, **look)
        else:
            extent, alpha = (0, below.shape[1], below.shape[0], 0), 2.5 * drawn / strongest
            place.imshow(below, extent=extent, alpha=0.45)
            place.imshow(drawn, extent=extent, alpha=np.clip(alpha, 0, 1), **look)
        _as_picture(place, title)
    axes[0].figure.colorbar(axes[0].images[-1], ax=axes, label="attention weight")
    return _figure_of(axes[0])


def draw_letters(text: str, shares: np.ndarray, axes: Places = None) -> Figure:
    """Draw a text, with each letter darker the more the model attended to it.

    Parameters
    ----------
    text, shares
        The result of :func:`attention_to_letters`.
    axes
        As in :func:`draw_attention`, but one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If there is not one share for each character.
    """
    shares = to_numpy(shares, "shares")
    if shares.shape != (len(text),) or not text:
        raise InputError(
            f"shares have shape {shares.shape}; expected ({len(text)},), one for each character, "
            "and at least one character."
        )
    (place,) = _axes(axes, 1, max(2, len(text) / 7))
    place.imshow(shares[None], cmap=WEIGHTS, vmin=0, vmax=2 * float(shares.max()), aspect="auto")
    for x, letter in enumerate(text):
        place.text(x, 0, letter, ha="center", va="center", fontsize=9)
    place.set(xticks=(), yticks=())
    place.spines[:].set(color=GREY, linewidth=0.5)
    return _figure_of(place)


def draw_predictions(predictions: Sequence[Prediction], axes: Places = None) -> Figure:
    """Draw classes and their probabilities as bars, the most probable on top.

    Parameters
    ----------
    predictions
        From :func:`classify` for one image or sound, or from a :class:`Reconstruction`.
    axes
        As in :func:`draw_attention`, but one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If ``predictions`` is not a list of predictions for one source.
    """
    if not predictions or not all(isinstance(p, Prediction) for p in predictions):
        raise InputError("predictions must be those of one source: classify(model, image).")
    (place,) = _axes(axes, 1, 2)
    labels, probabilities = zip(*predictions, strict=True)
    rows = range(len(labels))
    bars = place.barh(rows, probabilities, color=[ORANGE] + [GREY] * (len(labels) - 1))
    place.bar_label(bars, [f"{p:.1%}" for p in probabilities], padding=3)
    place.set_yticks(rows, labels)
    place.set(xlim=(0, 1.2), xlabel="probability", xticks=(0, 0.5, 1))
    place.invert_yaxis()
    place.spines[["top", "right"]].set_visible(False)
    return _figure_of(place)


def draw_latents(latents: Sequence[Any], axes: Places = None) -> Figure:
    """Draw the cosine similarity of each pair of latents, layer by layer.

    Parameters
    ----------
    latents
        Arrays (N, D) for one element of the batch, from :func:`latents_over_depth`.
    axes
        As in :func:`draw_attention`, one per array.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If the latents have another shape.
    """
    latents = [to_numpy(x, "latents") for x in latents]
    if not latents or any(x.ndim != 2 or 0 in x.shape for x in latents):
        shapes = ", ".join(str(x.shape) for x in latents)
        raise InputError(
            f"latents must be arrays (N, D), got {shapes or 'none'}: choose a batch element."
        )
    axes = _axes(axes, len(latents), 1)
    for depth, (place, x) in enumerate(zip(axes, latents, strict=True)):
        normed = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
        place.imshow(normed @ normed.T, SIGNED, vmin=-1, vmax=1)
        place.set_title(f"after block {depth}" if depth else "after the reader")
        place.set(xlabel="latent", ylabel="" if depth else "latent")
    axes[0].figure.colorbar(axes[0].images[-1], ax=axes, label="cosine")
    return _figure_of(axes[0])


def draw_flow_arrows(
    flow: Any, frame: Any = None, longest: float | None = None, axes: Places = None
) -> Figure:
    """Draw a flow field as arrows, over its first frame or the colours of :func:`draw_flow`.

    Parameters
    ----------
    flow
        (height, width, 2), from :func:`estimate_flow`.
    frame
        An image that ``ImagePreprocessing`` accepts, of the same size as the field.
    longest
        As in :func:`draw_flow`; an arrow of this length reaches the next arrow.
    axes
        As in :func:`draw_attention`, but one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If the field or the frame has another shape, or ``longest`` is not above 0.
    """
    flow = check_flow(flow)
    height, width, _ = flow.shape
    if longest is None:
        longest = max(float(np.hypot(flow[..., 0], flow[..., 1]).max()), 1e-30)
    colours = draw_flow(flow, longest)
    picture = colours if frame is None else read_rgb(frame)
    if picture.shape != colours.shape:
        raise InputError(f"frame has shape {picture.shape}; the flow field has {flow.shape}.")
    (place,) = _axes(axes, 1, width / height)
    place.imshow(picture)
    step = -(-max(height, width) // ARROWS)
    rows, columns = (np.arange(step // 2, size, step) for size in (height, width))
    some = flow[np.ix_(rows, columns)]
    look = {
        "color": "white",
        "edgecolor": "black",
        "linewidth": 0.5,
        "width": 0.012,
        "clip_on": False,
    }
    arrows = place.quiver(
        columns,
        rows,
        some[..., 0],
        some[..., 1],
        angles="xy",
        scale_units="xy",
        scale=longest / step,
        pivot="mid",
        **look,
    )
    arrows.set_in_layout(False)  # arrows at the border extend beyond it
    _as_picture(place, f"from arrow to arrow: {longest:.2g} pixels")
    return _figure_of(place)


def draw_reconstruction(
    reconstruction: Reconstruction, frames: Any, sound: Any, axes: Places = None
) -> Figure:
    """Draw the frames of a clip above their reconstruction by an autoencoder, and both sounds.

    Parameters
    ----------
    reconstruction
        From :func:`reconstruct_video`.
    frames, sound
        The original clip: (frames, height, width, 3) in [0, 1], and (samples,) or (samples, 1).
    axes
        As in :func:`draw_attention`: first for the original frames, then for the reconstructed
        frames, then one for the sound.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    InputError
        If the number of frames or axes is wrong.
    """
    frames = [read_rgb(frame) for frame in frames]
    number = len(reconstruction.frames)
    if len(frames) != number:
        raise InputError(
            f"Expected the {number} frames that were reconstructed, got {len(frames)} frames."
        )
    if axes is None:
        upper, lower = ([f"{row} {i}" for i in range(number)] for row in ("given", "made"))
        rows: list[Any] = [upper, lower, ["sound"] * number]
        figure = _figure()(figsize=(max(4, 1.3 * number), 4.2), layout="constrained")
        axes = list(figure.subplot_mosaic(rows).values())
    *pictures, wave = _axes(axes, 2 * number + 1, 1)
    for i, (place, frame) in enumerate(
        zip(pictures, [*frames, *reconstruction.frames], strict=True)
    ):
        place.imshow(frame)
        _as_picture(place, f"frame {i + 1}" if i < number else "")
    pictures[0].set_ylabel("given")
    pictures[number].set_ylabel("made")
    given = to_numpy(sound, "sound").ravel()
    wave.plot(given, color=BLUE, label="given")
    wave.plot(reconstruction.sound.ravel(), color=ORANGE, label="made", linestyle="--")
    wave.set(xlabel="sample", ylabel="sound", xlim=(0, len(given) - 1))
    wave.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    wave.spines[["top", "right"]].set_visible(False)
    return _figure_of(wave)


def _figure() -> type[Figure]:
    """Figure class. pyplot neither shows nor keeps figures that are made from it directly."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed("Drawings need", error, "plot") from error
    return Figure


def _figure_of(axes: Axes) -> Figure:
    """The whole figure, also where the axes are in a subfigure."""
    return axes.figure.figure


def _axes(axes: Places, number: int, aspect: float) -> list[Axes]:
    """Return ``number`` axes: the given ones, or those of a new figure."""
    if axes is not None:
        axes = list(np.ravel(np.asarray(axes, object)))
        if len(axes) != number:
            raise InputError(f"Expected axes for {number} drawings, got {len(axes)}.")
        return axes
    rows = -(-number // COLUMNS)
    columns = -(-number // rows)
    height = 2.4 if rows == 1 else 1.5 * rows  # inches
    width = columns * aspect * (height / rows - 0.1) + 0.8  # space for the colour scale
    figure = _figure()(figsize=(width, height + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[number:]:
        unused.remove()
    return axes[:number]


def _as_picture(axes: Axes, title: str) -> None:
    """Draw a thin frame without ticks."""
    axes.set(xticks=(), yticks=(), title=title)
    axes.spines[:].set(color=GREY, linewidth=0.5)
