"""Optical flow between frames of any size, and flow fields as files and pictures."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.base.atomic_files import replaced
from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.image import read_rgb

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel

OVERLAP = 20
"""Pixels that neighbouring tiles share, as in the original; at most half a tile."""

UNKNOWN = 1e9
"""Flow above this many pixels is unknown, as in Middlebury's ground truth."""

FLO_MAGIC = b"PIEH"
"""First bytes of a Middlebury file: 202021.25 as a little-endian float."""


@np.errstate(all="ignore")
def estimate_flow(
    model: AnyModel, first: Any, second: Any, progress: bool = False, batch_size: int = 1
) -> np.ndarray:
    """Estimate how far each pixel moves from one frame to the next.

    Frames larger than the model's are cut into overlapping tiles. Where tiles overlap, each is
    weighted by the distance from its own border, as in the original. Smaller frames are padded by
    repeating their border pixels.

    Parameters
    ----------
    model
        A model of ``perceiver_io_optical_flow`` or :func:`create_model`.
    first, second
        Frames of the same size: paths, PIL images or arrays that ``ImagePreprocessing`` accepts.
    progress
        Whether to show a progress bar over the tiles.
    batch_size
        Number of tiles in a call of the model.

    Returns
    -------
    numpy.ndarray
        Float32 (height, width, 2): pixels to the right, and down.

    Raises
    ------
    InputError
        If the model does not estimate flow, or a frame cannot be used.
    """
    if model.spec.stem != "frame_pair" or not model.spec.queries_from_inputs:
        raise InputError("The model does not estimate flow: build perceiver_io_optical_flow.")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    frames = read_frames(first, second)
    from tqdm import tqdm

    height, width, _ = frames[0].shape
    tile = _tile_size(model, (height, width))
    padding = [(0, max(0, t - s)) for t, s in zip(tile, (height, width), strict=True)]
    pair = np.stack([np.pad(frame, [*padding, (0, 0)], mode="edge") for frame in frames]) * 2 - 1

    corners = [_starts(size, t) for size, t in zip(pair.shape[1:3], tile, strict=True)]
    windows = [
        (slice(y, y + tile[0]), slice(x, x + tile[1])) for y, x in itertools.product(*corners)
    ]
    weights = _tile_weights(tile)[..., None]
    flow = np.zeros((*pair.shape[1:3], 2), np.float32)
    total = np.zeros((*pair.shape[1:3], 1), np.float32)
    with tqdm(total=len(windows), desc="flow", unit="tile", disable=not progress) as bar:
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            tiles = model(np.stack([pair[:, rows, columns] for rows, columns in batch]))
            for window, estimated in zip(batch, to_numpy(tiles, "flow"), strict=True):
                flow[window] += weights * estimated
                total[window] += weights
            bar.update(len(batch))
    return (flow / total)[:height, :width]


def read_frames(first: Any, second: Any) -> list[np.ndarray]:
    """Read two frames of the same size: float32 (height, width, 3) in [0, 1].

    Raises
    ------
    InputError
        If a frame cannot be used, or their sizes differ.
    """
    frames = [read_rgb(frame) for frame in (first, second)]
    if frames[0].shape != frames[1].shape:
        sizes = " and ".join(f"{f.shape[0]} x {f.shape[1]}" for f in frames)
        raise InputError(f"The two frames must have the same size; got {sizes} (height x width).")
    return frames


def _tile_size(model: AnyModel, size: tuple[int, int]) -> tuple[int, int]:
    """The size that the model was trained for, or the frame's if its positions have no size."""
    resolution = model.spec.max_fourier_freq or model.spec.learned_position_shape or size
    height, width = np.broadcast_to(resolution, 2)
    return int(height), int(width)


def _starts(size: int, tile: int) -> list[int]:
    """Where tiles begin along an axis. The last one ends with the axis."""
    step = tile - min(OVERLAP, tile // 2)  # so a small tile does not move by single pixels
    return [*range(0, size - tile, step), size - tile]


def _tile_weights(tile: tuple[int, int]) -> np.ndarray:
    """Distance of each pixel of a tile from its border, 1 at the border, (height, width)."""
    rows, columns = (
        np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
        for size in tile
    )
    return np.minimum(rows[:, None], columns)


# Files


def write_flo(path: str | os.PathLike[str], flow: Any) -> None:
    """Write a flow field (height, width, 2) as a Middlebury ``.flo`` file.

    Raises
    ------
    InputError
        If it is not a flow field.
    OSError
        If the file cannot be written. An existing file is then left unchanged.
    """
    flow = check_flow(flow)
    height, width, _ = flow.shape
    header = FLO_MAGIC + np.array([width, height], "<i4").tobytes()
    with replaced(user_path(path)) as temporary:
        temporary.write_bytes(header + flow.astype("<f4").tobytes())


def read_flo(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a Middlebury ``.flo`` file: float32 (height, width, 2).

    Unknown pixels have flow above ``UNKNOWN`` (1e9).

    Raises
    ------
    InputError
        If the file cannot be read, or is not such a file.
    """
    try:
        content = user_path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if content[:4] != FLO_MAGIC or len(content) < 12:
        raise InputError(f"{path} is not a .flo file: it does not begin with {FLO_MAGIC.decode()}.")
    width, height = (int(n) for n in np.frombuffer(content, "<i4", 2, offset=4))
    if width < 1 or height < 1 or len(content) != 12 + 8 * width * height:
        raise InputError(
            f"{path} is broken: its header says {width} x {height} pixels, which does not match "
            f"its {len(content)} bytes."
        )
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    return flow.astype(np.float32)


def read_kitti_flow(path: str | os.PathLike[str]) -> np.ndarray:
    """Read ground truth of KITTI, a PNG file of 16 bits: float32 (height, width, 2).

    Unknown pixels have flow above ``UNKNOWN`` (1e9), as in :func:`read_flo`.

    Raises
    ------
    InputError
        If the file cannot be read, or is not such a file.
    BackendError
        If PyAV is not installed. Pillow reads only the upper 8 bits.
    """
    from ivy_models.preprocessing.media import decode
    from ivy_models.preprocessing.sources import named_errors

    with named_errors(path, "image"):
        frame, _ = next(decode(path, "video"))
        if not frame.format.name.startswith("rgb48"):
            raise InputError(f"{path} is not ground truth of KITTI: its pixels are not 16-bit RGB.")
        pixels = frame.to_ndarray(format="rgb48le").astype(np.float32)
        flow = (pixels[..., :2] - 2**15) / 64
        flow[pixels[..., 2] == 0] = 10 * UNKNOWN
        return flow


# Pictures


@np.errstate(all="ignore")
def draw_flow(flow: Any, longest: float | None = None) -> np.ndarray:
    """Colour a flow field with the colour wheel of Baker et al. (2011), section 4.1.

    Hue is the direction, saturation the length. Unknown pixels, whose flow is above ``UNKNOWN``
    (1e9), are black.

    Parameters
    ----------
    flow
        (height, width, 2).
    longest
        The length in pixels that is fully saturated; longer vectors are darker. None: the longest
        known one.

    Returns
    -------
    numpy.ndarray
        Uint8 (height, width, 3).

    Raises
    ------
    InputError
        If it is not a flow field, or ``longest`` is not above 0.
    """
    flow = check_flow(flow)
    if longest is not None and not longest > 0:
        raise InputError(f"longest must be above 0, got {longest}.")
    unknown = np.abs(flow).max(-1) > UNKNOWN
    flow = np.where(unknown[..., None], 0, flow)
    wheel = _colour_wheel()
    length = np.hypot(flow[..., 0], flow[..., 1])
    length = length / (longest or max(float(length.max()), np.finfo(np.float32).tiny))
    turn = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi  # -1 to 1
    place = (turn + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[..., None]
    colour = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    inside = 1 - length[..., None] * (1 - colour)
    colour = np.where(length[..., None] <= 1, inside, 0.75 * colour)
    colour[unknown] = 0
    return np.floor(255 * colour).astype(np.uint8)


def _colour_wheel() -> np.ndarray:
    """Hues around the circle, (55, 3) in [0, 1], denser where the eye distinguishes more."""
    red, yellow, green, cyan, blue, magenta = np.array(
        [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)], float
    )
    corners = [red, yellow, green, cyan, blue, magenta, red]
    steps = [15, 6, 4, 11, 13, 6]
    return np.concatenate(
        [
            start + (end - start) * np.arange(n)[:, None] / n
            for start, end, n in zip(corners[:-1], corners[1:], steps, strict=True)
        ]
    )


def check_flow(flow: Any) -> np.ndarray:
    """Convert a flow field of any framework to float32 (height, width, 2).

    Raises
    ------
    InputError
        If it has another shape, or holds numbers that are not finite.
    """
    flow = to_numpy(flow, "flow")
    if flow.ndim != 3 or flow.shape[-1] != 2 or 0 in flow.shape:
        raise InputError(f"A flow field must be (height, width, 2), got shape {flow.shape}.")
    if not np.isfinite(flow).all():
        raise InputError("The flow field holds numbers that are not finite.")
    return flow.astype(np.float32, copy=False)
