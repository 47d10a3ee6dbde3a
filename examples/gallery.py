"""Make the pictures of the gallery: what trained models attend to and compute.

    python examples/gallery.py                        # about two minutes on two cores
    python examples/gallery.py --steps 50 --output pictures

The model of the digits is in the package. The other models are first trained by the examples beside
this script.
"""

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np
import torch
import train_flow
import train_forecast
import train_tones
import train_video
from digits import digits_split
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from ivy_models import (
    AttentionMaps,
    attention_maps,
    attention_rollout,
    classify,
    create_model,
    draw_attention,
    draw_flow_arrows,
    draw_latents,
    draw_predictions,
    draw_reconstruction,
    estimate_flow,
    latents_over_depth,
    perceiver_io_optical_flow,
    perceiver_io_video,
    reconstruct_video,
)
from ivy_models.interpret.drawing import BLUE, ORANGE
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

SEED = 0
STEPS = {"flow": 1500, "video": 1000, "tones": 500, "forecast": 600}
MARGIN = 10
"""Width of the white margin around a picture, in pixels."""

LARGEST = 50_000
"""Size in bytes above which the number of colours is reduced."""


def new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def numpy_of(x) -> np.ndarray:
    return ivy.to_numpy(x)


# The model of digits


class Digits:
    """The model in the package, and the held-out images as dark ink on white."""

    def __init__(self):
        self.model = create_model("perceiver_io_digits", pretrained=True)
        *_, self.images, self.classes, _ = digits_split()
        self.data = self.model.preprocessing(list(self.images))
        self.guesses = numpy_of(self.model(self.data))[:, 0].argmax(-1)
        right = np.flatnonzero(self.guesses == self.classes)
        self.of_each_class = [right[self.classes[right] == i][0] for i in range(10)]
        self.wrong = np.flatnonzero(self.guesses != self.classes)

    def ink(self, index: int) -> np.ndarray:
        return 255 - self.images[index]

    def maps(self, indices) -> AttentionMaps:
        return attention_maps(self.model, self.data[indices])


def show(axes, images, titles) -> None:
    for place, image, title in zip(axes, images, titles, strict=True):
        place.imshow(image, cmap="gray", vmin=0, vmax=255)
        place.set(xticks=(), yticks=(), title=title)


def latents_of_a_digit(digits: Digits) -> Figure:
    """Where each latent looks in one image."""
    index = digits.of_each_class[6]
    weights = numpy_of(digits.maps(index).reader[0])[0]
    return draw_attention(weights, digits.ink(index), [f"latent {i}" for i in range(len(weights))])


def rollout_of_digits(digits: Digits) -> Figure:
    """A digit of each class, and the pixels that its answer comes from."""
    shown = digits.of_each_class
    rollout = numpy_of(attention_rollout(digits.maps(shown)))[:, 0]
    figure = new_figure(9.6, 2.2)
    images, below = figure.subplots(2, len(shown))
    show(images, [digits.ink(i) for i in shown], digits.model.labels)
    draw_attention(rollout, [digits.ink(i) for i in shown], axes=below)
    return figure


def heads_of_a_digit(digits: Digits) -> Figure:
    """How the latents attend to each other, with a row per layer and a column per head."""
    layers = [numpy_of(layer) for layer in digits.maps(digits.of_each_class[6]).processor]
    figure = new_figure(6.2, 5.4)
    axes = figure.subplots(len(layers), len(layers[0]))
    draw_attention(np.concatenate(layers), axes=axes)
    for i, row in enumerate(axes):
        row[0].set_ylabel(f"layer {i + 1}")
        for j, place in enumerate(row):
            place.set_title(f"head {j + 1}" if i == 0 else "")
    return figure


def decoder_of_digits(digits: Digits) -> Figure:
    """The latents from which the answer is read, for a digit of each class."""
    weights = numpy_of(digits.maps(digits.of_each_class).decoder)[:, 0, 0]
    figure = new_figure(6, 3.2)
    axes = figure.subplots()
    draw_attention(weights, axes=axes)
    rows, columns = map(range, weights.shape)
    axes.set(xlabel="latent", xticks=columns, yticks=rows, yticklabels=digits.model.labels)
    return figure


def depth_of_a_digit(digits: Digits) -> Figure:
    """How similar the latents are after each block."""
    return draw_latents(latents_over_depth(digits.model, digits.data[digits.of_each_class[6]]))


def right_and_wrong(digits: Digits) -> Figure:
    """A digit that is classified correctly, and two that are not: image, rollout and answer."""
    shown = [digits.of_each_class[3], *digits.wrong[:2]]
    rollout = numpy_of(attention_rollout(digits.maps(shown)))[:, 0]
    inks = [digits.ink(i) for i in shown]
    figure = new_figure(7.6, 4.6)
    axes = figure.subplots(len(shown), 3, width_ratios=[1, 1, 1.8])
    show(axes[:, 0], inks, [f"a {digits.model.labels[digits.classes[i]]}" for i in shown])
    draw_attention(rollout, inks, axes=axes[:, 1])
    for place, index in zip(axes[:, 2], shown, strict=True):
        draw_predictions(classify(digits.model, digits.images[index]), place)
        place.set_xlabel("probability" if place is axes[-1, 2] else "")
    return figure


# The models of the other examples


def flow_of_textures(steps: int) -> Figure:
    """Two textures that move in different directions: the estimated and the true flow."""
    rng = np.random.default_rng(SEED)
    (frames, *_), (flow, *_) = (x.numpy() for x in train_flow.moving_pairs(rng, 1))
    model = perceiver_io_optical_flow(train_flow.SPEC, pretrained=False, seed=SEED)
    train_flow.train(model, steps, rng)
    first, second = (frames + 1) / 2
    estimated = estimate_flow(model, first, second)
    longest = float(np.hypot(flow[..., 0], flow[..., 1]).max())
    figure = new_figure(8.4, 3.2)
    axes = figure.subplots(1, 3)
    draw_flow_arrows(estimated, first, longest, axes[0])
    draw_flow_arrows(estimated, None, longest, axes[1])
    draw_flow_arrows(flow, None, longest, axes[2])
    for place, label in zip(axes, ("the first frame", "estimated", "true"), strict=True):
        place.set_xlabel(label)
        place.set_title(place.get_title() if place is axes[1] else "")
    return figure


def reconstructed_clip(steps: int) -> Figure:
    """A moving square with a tone: the clip and its reconstruction by the autoencoder."""
    model = perceiver_io_video(train_video.SPEC, pretrained=False, seed=SEED)
    model.labels = train_video.DIRECTIONS
    train_video.train(model, steps, SEED)
    clips = train_video.make_clips(1, np.random.default_rng([SEED, 1]))
    frames, sound = clips["image"][0].numpy(), clips["audio"][0].numpy()
    return draw_reconstruction(reconstruct_video(model, frames, sound), frames, sound)


def named_tones(steps: int) -> Figure:
    """A wave of each form, the share of each of its parts in the answer, and the answer."""
    model = train_tones.make_model(SEED)
    train_tones.train(model, steps, SEED)
    sounds, labels = train_tones.make_tones(np.random.default_rng([SEED, 1]), 50)
    shown = [np.flatnonzero(labels == i)[0] for i in range(len(model.labels))]
    rollout = numpy_of(attention_rollout(attention_maps(model, sounds[shown])))[:, 0]
    figure = new_figure(8, 5)
    axes = figure.subplots(len(shown), 2, width_ratios=[2.4, 1])
    for (left, right), index, share in zip(axes, shown, rollout, strict=True):
        middles = (np.arange(len(share)) + 0.5) * train_tones.NUM_SAMPLES / len(share)
        left.plot(sounds[index, :, 0], color=BLUE, linewidth=0.6)
        left.set(ylim=(-2, 1), xlim=(0, train_tones.NUM_SAMPLES), yticks=(-1, 0, 1))
        left.set_ylabel(model.labels[labels[index]])
        below = left.twinx()
        below.bar(middles, share, width=middles[0] * 2, color=ORANGE)
        below.set(ylim=(0, 3.5 * share.max()), yticks=())
        below.annotate(
            f"at most {share.max():.0%}", (0.99, 0.12), xycoords="axes fraction", ha="right"
        )
        draw_predictions(classify(model, sounds[index], top=4), right)
        right.set_xlabel("")
    axes[0, 0].set_title("the sound, and below it the share of each 2 ms in the answer")
    axes[-1, 0].set_xlabel("sample")
    axes[-1, 1].set_xlabel("probability")
    return figure


def forecast_of_a_day(steps: int) -> Figure:
    """Tomorrow's demand, forecast with and without the table, and the share of each past hour."""
    model = PerceiverIO(train_forecast.SPEC, seed=SEED)
    train_forecast.train(model, steps, SEED)
    days = train_forecast.make_days(50, np.random.default_rng([SEED, 1]))
    holiday = int(np.flatnonzero(days["facts"][:, 0])[0])
    hours, facts = days["hours"][holiday], days["facts"][holiday]
    past, coming = np.arange(-train_forecast.PAST, 0), np.arange(train_forecast.NEXT)
    figure = new_figure(7.6, 6)
    above, below = figure.subplots(2, 1)
    above.plot(past, hours[:, 0], color="black", label="before")
    above.plot(coming, days["demand"][holiday], color="black", linestyle=":", label="true")
    for data, colour, label in (
        ({"hours": hours, "facts": facts}, BLUE, "forecast"),
        ({"hours": hours}, ORANGE, "forecast without the table"),
    ):
        above.plot(coming, numpy_of(model(data)["demand"]), color=colour, label=label)
    above.set(xlabel="hour", ylabel="demand", ylim=(-0.3, 1.6), xlim=(past[0], coming[-1]))
    above.set_title("a holiday, which only the table knows")
    above.legend(loc="upper left", ncols=4, frameon=False)
    above.spines[["top", "right"]].set_visible(False)
    rollout = attention_rollout(attention_maps(model, {"hours": hours, "facts": facts}))
    draw_attention(numpy_of(rollout["demand"]["hours"]), axes=below)
    below.set(xlabel="hour before", ylabel="hour of the forecast", xticks=range(0, 48, 6))
    below.set_aspect("auto")
    below.set(xticklabels=range(-48, 0, 6), yticks=range(0, 24, 6))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a small PNG file, with a white margin for dark pages."""
    file = io.BytesIO()
    figure.savefig(file, dpi=100, facecolor="white")
    picture = ImageOps.expand(Image.open(file).convert("RGB"), MARGIN, "white")
    picture.save(path, optimize=True)
    for colours in (256, 64):
        if path.stat().st_size > LARGEST:
            picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/gallery"))
    parser.add_argument(
        "--steps", type=int, help="training steps of each model; default: as in its example"
    )
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # a second thread gains little for arrays this small
    matplotlib.rcParams.update({"font.size": 9, "axes.titlesize": 9})
    arguments.output.mkdir(parents=True, exist_ok=True)
    digits = Digits()
    for name, draw in OF_DIGITS.items():
        save(draw(digits), arguments.output / f"{name}.png")
    for name, draw in TRAINED.items():
        steps = arguments.steps or STEPS[name]
        save(draw(steps), arguments.output / f"{name}.png")


OF_DIGITS = {
    "latents": latents_of_a_digit,
    "rollout": rollout_of_digits,
    "heads": heads_of_a_digit,
    "decoder": decoder_of_digits,
    "depth": depth_of_a_digit,
    "answers": right_and_wrong,
}
TRAINED = {
    "flow": flow_of_textures,
    "video": reconstructed_clip,
    "tones": named_tones,
    "forecast": forecast_of_a_day,
}

if __name__ == "__main__":
    main()
