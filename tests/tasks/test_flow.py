"""Optical flow: frames of any size in, flow fields, files and pictures out."""

import numpy as np
import pytest
from helpers.arrays import compiled, numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.specs import flow_spec
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ivy_models import create_model, perceiver_io_optical_flow
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import map_tree
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import ops_named
from ivy_models.tasks.flow import (
    OVERLAP,
    _starts,
    draw_flow,
    estimate_flow,
    read_flo,
    read_kitti_flow,
    write_flo,
)
from ivy_models.transformers.perceiver_io import Decoder, initialise

TILE = (24, 31)


def flow_model(**changes):
    return perceiver_io_optical_flow(flow_spec(**changes), pretrained=False)


def frame(rng, height, width):
    return rng.random((height, width, 3), dtype=np.float32)


# The decoder's folded queries


@st.composite
def decodings(draw):
    """(positions, projected, shape, batch, heads, scores per chunk)."""
    return (
        draw(st.sampled_from(["fourier", "learned", None])),
        draw(st.booleans()),
        tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2])),
        draw(st.sampled_from([1, 40, 300, 10**6])),
    )


def decode(ops, decoding, folded, dtype):
    positions, projected, shape, batch, heads, chunk = decoding
    rng = np.random.default_rng(0)
    num = int(np.prod(shape))

    def array(*size):
        return ops.asarray(rng.standard_normal(size), dtype)

    data = Features(array(batch, num, 3), *((array(3, 5), array(5)) if projected else ()))
    encoding = {
        "fourier": FourierPositionEncoding(3),
        "learned": Features(array(num, 4), array(4, 6), array(6)),
        None: None,
    }[positions]
    queries = Inputs(shape, data, encoding)
    decoder = Decoder(
        queries.num_channels, 11, 2, heads, qk_dim=6 * heads, v_dim=4 * heads, query_residual=False
    )
    params = map_tree(
        lambda w: ops.asarray(w + 0.3 * rng.standard_normal(w.shape), dtype),
        initialise(decoder.parameters()),
    )
    latents = array(batch, 7, 11)
    if not folded:
        queries = queries.dense(ops, latents)
    with pytest.MonkeyPatch.context() as patch:
        set_scores_per_chunk(patch, chunk)
        patch.setattr(Decoder, "_folding_is_cheaper", lambda *_: True)
        call = compiled(ops, lambda p, z: decoder(p, queries, z))
        return ops.to_numpy(call(params, latents))


@settings(max_examples=12)
@given(decoding=decodings())
def test_folded_queries_are_plain_attention(backend, decoding):
    ops = ops_named(backend)
    dtype, tolerance = ("float32", 1e-5) if backend == "jax" else ("float64", 1e-12)
    plain_ops = ops_named("numpy") if backend == "jax" else ops  # jax would compile that too
    folded = decode(ops, decoding, True, dtype)
    plain = decode(plain_ops, decoding, False, dtype)
    assert np.abs(folded - plain).max() <= tolerance * np.abs(plain).max()


# The model


def test_any_batch_gives_one_flow_a_pixel(backend, rng):
    model = flow_model()
    pairs = rng.standard_normal((3, 2, 9, 11, 3), dtype=np.float32)
    flows = numpy_of(model(pairs))
    assert flows.shape == (3, 9, 11, 2)
    np.testing.assert_allclose(numpy_of(model(pairs[1])), flows[1], atol=1e-5)


def test_unusable_pairs_of_frames_are_refused(backend):
    for shape in ((3, 9, 11, 3), (9, 11, 3), (2, 9, 11, 6)):
        with pytest.raises(InputError):
            flow_model()(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="mixes neighbours"):
        flow_model()(np.zeros((2, 9, 11, 3), np.float32), np.ones((2, 9, 11), bool))
    with pytest.raises(InputError, match="takes its inputs"):
        flow_model()(np.zeros((2, 9, 11, 3), np.float32), queries=np.zeros((4, 17), np.float32))


@pytest.mark.parametrize(
    "changes",
    [{"num_input_axes": 2}, {"learn_query": True, "query_shape": (3,)}, {"queries_dim": 5}],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(SpecError):
        flow_spec(**changes)


def test_the_published_model_can_be_made_smaller(rng):
    model = create_model(
        "perceiver_io_optical_flow", num_latents=4, latent_dim=16, num_lat_att_per_layer=1
    )
    frames = rng.standard_normal((2, 5, 6, 3), dtype=np.float32)
    assert numpy_of(model(frames)).shape == (5, 6, 2)


# Frames of any size


class Shift:
    """Stands in for a model; records how often each pixel was seen, and the places of tiles."""

    def __init__(self):
        self.spec = flow_spec(max_fourier_freq=TILE)
        self.calls = []

    def __call__(self, pairs):
        assert pairs.shape[1:] == (2, *TILE, 3)
        assert pairs.min() >= -1
        assert pairs.max() <= 1
        self.calls.append(len(pairs))
        return pairs[:, 0, :, :, :2]


@pytest.mark.parametrize("size", [(24, 31), (25, 31), (60, 100), (24, 32), (5, 7), (10, 90)])
def test_tiles_cover_every_pixel_and_blend(rng, size):
    model, first = Shift(), frame(rng, *size)
    flow = estimate_flow(model, first, frame(rng, *size))
    # Each tile's flow is the first frame itself, so the blend is too, whatever the weights.
    np.testing.assert_allclose(flow, first[:, :, :2] * 2 - 1, atol=1e-5)
    overlaps = [min(OVERLAP, t // 2) for t in TILE]
    assert len(model.calls) == np.prod(
        [
            max(1, -(-(s - shared) // (t - shared)))
            for s, t, shared in zip(size, TILE, overlaps, strict=True)
        ]
    )


def test_a_small_tile_moves_by_half_of_it():
    assert _starts(100, 8) == [*range(0, 92, 4), 92]
    assert _starts(3, 1) == [0, 1, 2]
    assert _starts(1000, 368) == [0, 348, 632]  # the published model's height


@pytest.mark.parametrize(("batch_size", "calls"), [(1, [1] * 4), (3, [3, 1]), (9, [4])])
def test_tiles_in_batches(rng, batch_size, calls):
    model, first = Shift(), frame(rng, 30, 40)
    flow = estimate_flow(model, first, frame(rng, 30, 40), batch_size=batch_size)
    assert model.calls == calls
    np.testing.assert_allclose(flow, first[:, :, :2] * 2 - 1, atol=1e-5)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        estimate_flow(model, first, first, batch_size=0)


def test_tiles_count_by_their_distance_from_the_border():
    class Constant(Shift):
        def __call__(self, pairs):
            super().__call__(pairs)
            return np.full((1, *TILE, 2), len(self.calls), np.float32)

    frames = np.zeros((24, 42, 3), np.float32)  # two tiles, from columns 0 and 11
    flow = estimate_flow(Constant(), frames, frames)[..., 0]
    row, column = 12, 15  # of the first tile's 24 x 31: 12 from the lower border
    first = min(row + 1, 24 - row, column + 1, 31 - column)
    second = min(row + 1, 24 - row, column - 11 + 1, 31 - (column - 11))
    assert flow[row, column] == pytest.approx((first + 2 * second) / (first + second))
    assert (flow[:, :11] == 1).all()
    assert (flow[:, 31:] == 2).all()


def test_frames_from_paths_and_images(rng, tmp_path, capsys):
    pixels = rng.integers(0, 256, (2, 30, 40, 3), np.uint8)
    for i in range(2):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    from_paths = estimate_flow(Shift(), *paths, progress=True)
    assert "tile" in capsys.readouterr().err
    np.testing.assert_array_equal(from_paths, estimate_flow(Shift(), *pixels))
    images = [Image.open(path) for path in paths]
    np.testing.assert_array_equal(from_paths, estimate_flow(Shift(), *images))


def test_frames_that_do_not_fit_are_refused(rng):
    with pytest.raises(InputError, match="same size; got 5 x 6 and 6 x 5"):
        estimate_flow(Shift(), frame(rng, 5, 6), frame(rng, 6, 5))
    with pytest.raises(InputError, match="does not estimate flow"):
        estimate_flow(create_model("perceiver_io_digits"), frame(rng, 5, 6), frame(rng, 5, 6))
    with pytest.raises(InputError, match="cannot be read"):
        estimate_flow(Shift(), "none.png", "none.png")


# Files and pictures


@given(
    hnp.arrays(
        np.float32,
        st.tuples(*[st.integers(1, 5)] * 2, st.just(2)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_flo_files_keep_every_bit(tmp_path_factory, flow):
    path = tmp_path_factory.mktemp("flo") / "flow.flo"
    write_flo(path, flow)
    np.testing.assert_array_equal(read_flo(path), flow)


def test_flo_files_are_middleburys(tmp_path):
    path = tmp_path / "flow.flo"
    write_flo(path, np.float32([[[1, 2], [3, 4], [5, 6]]]))
    expected = [np.float32(202021.25).tobytes(), np.int32([3, 1]).tobytes()]
    assert path.read_bytes() == b"".join([*expected, np.arange(1, 7, dtype="<f4").tobytes()])


@pytest.mark.parametrize(
    "content", [b"", b"PIEH", b"PIEH" + bytes(8), b"PIEH" + b"\xff" * 8, b"no flow" * 10]
)
def test_broken_flo_files_are_refused(tmp_path, content):
    path = tmp_path / "flow.flo"
    path.write_bytes(content)
    with pytest.raises(InputError, match="flow.flo"):
        read_flo(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_flo(tmp_path / "none.flo")


def test_colours_follow_the_wheel():
    right, down, left, still = (1, 0), (0, 1), (-1, 0), (0, 0)
    picture = draw_flow(np.float32([[right, down, left, still]]))[0]
    assert picture[0].tolist() == [255, 0, 0]  # red
    assert picture[1][0] > 200  # yellow to orange
    assert picture[1][2] < 50
    assert picture[2].argmax() == 2  # blue to cyan
    assert picture[3].tolist() == [255, 255, 255]
    half = draw_flow(np.float32([[(0.5, 0), (1, 0), (2, 0)]]), longest=1)[0]
    assert half[:, 0].tolist() == [255, 255, 191]
    assert half[0, 1] == 127
    assert draw_flow(np.zeros((2, 3, 2), np.float32)).min() == 255


@pytest.mark.parametrize(
    "flow", [np.zeros((4, 5)), np.zeros((4, 5, 3)), np.full((1, 1, 2), np.nan)]
)
def test_unusable_flow_is_refused(tmp_path, flow):
    with pytest.raises(InputError, match="flow field"):
        draw_flow(flow)
    with pytest.raises(InputError, match="flow field"):
        write_flo(tmp_path / "flow.flo", flow)
    assert not list(tmp_path.iterdir())


# Pixels with unknown ground truth


def test_unknown_pixels_are_black_and_change_no_others(rng):
    flow = rng.normal(0, 3, (6, 8, 2)).astype(np.float32)
    marked = flow.copy()
    flow[:2, :3] = 0
    marked[:2, :3] = 1666666752.0
    drawn, expected = draw_flow(marked), draw_flow(flow)
    assert (drawn[:2, :3] == 0).all()
    expected[:2, :3] = 0
    np.testing.assert_array_equal(drawn, expected)
    marked[:] = -1e10
    assert (draw_flow(marked) == 0).all()


def test_kitti_files(tmp_path, rng, monkeypatch):
    import av

    pixels = rng.integers(2**15 - 500, 2**15 + 500, (6, 8, 3)).astype(np.uint16)
    pixels[..., 2] = rng.random((6, 8)) > 0.3
    path = tmp_path / "000000_10.png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 6, "rgb48be"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="rgb48be")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    flow, known = read_kitti_flow(path), pixels[..., 2] > 0
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    np.testing.assert_array_equal(read_kitti_flow(f"~/{path.name}"), flow)
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow[known], (pixels[known][:, :2] - 2.0**15) / 64)
    assert (flow[~known] > 1e9).all()
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)
    with pytest.raises(InputError, match="not ground truth of KITTI"):
        read_kitti_flow(path)
    with pytest.raises(InputError, match=r"none\.png"):
        read_kitti_flow(tmp_path / "none.png")
