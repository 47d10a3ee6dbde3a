"""Write raw results as a table and a plot."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from subjects import (
    ACCELERATED,
    COMPILED,
    DROPOUT,
    HALF,
    HUGGINGFACE,
    ONLY_SHAPE,
    PLAIN,
    REMATERIALISED,
)

matplotlib.use("Agg")  # needs no display
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

COLOURS = {
    HUGGINGFACE: "black",
    ACCELERATED: "tab:grey",
    "numpy": "tab:blue",
    "torch": "tab:red",
    "jax": "tab:green",
    "tensorflow": "tab:orange",
    "paddle": "tab:pink",
    "onnxruntime": "tab:purple",
    "openvino": "tab:brown",
}

COLUMNS = (
    "subject",
    "time, s",
    "min - max, s",
    "elements a second",
    "calls",
    "÷ huggingface",
    "additional memory, MiB",
    "÷ huggingface",
    "first call, s",
    "GEMM, GFLOP/s",
    "latent products",
)

LEGEND = f"""\
- **{HUGGINGFACE}** is the Perceiver of transformers, **{ACCELERATED}** the same model after
  `ivy_models.accelerate`; **numpy**, **torch**, **jax**, **tensorflow** and **paddle** are this
  library; **{PLAIN}** is this library with a reader that computes all attention scores at once.
  **onnxruntime** and **openvino** run this library's ONNX files, and with **{HUGGINGFACE}-** the
  files that torch exports of transformers. **{COMPILED}** is after `torch.compile`, **{HALF}**
  computes in bfloat16, everything else in the type above. All have random weights. **tiny**
  measures overhead: it has 8 latents of 16 channels, 8x6 layers and 64 inputs.
- **time**: median time from a NumPy batch to NumPy logits. The subjects take turns. If a call
  takes less than 0.1 s, one measurement is the mean over successive calls for at least 0.1 s.
- **elements a second**: batch size divided by the median time.
- Headings give the shape of the data: pixels, bytes (language), two frames (flow), or the frames
  of a clip (video). The video model also reads sound, and decodes 1/128 of the pixels and sound.
- **additional memory**: peak memory during a later call, minus the memory of the loaded model.
  {{memory}}
- **first call**: time of the first call, including compilation if the framework compiles.
- **GEMM**: median rate of a 512x1024 by 1024x1024 matrix product in the same framework, measured
  between the calls.
- **latent products**: share of the time that the matrix products of the latents' self-attention
  layers would take at that rate. The rest is the reader, the decoder and everything else."""


TRAINING_LEGEND = f"""\
- A step is a forward pass, a backward pass and an AdamW update on one NumPy batch. The weights are
  random.
- **{HUGGINGFACE}** is the Perceiver of transformers without dropout; **{DROPOUT}** is the
  same with its default dropout of attention weights, 0.1; **torch**, **jax**, **tensorflow** and
  **paddle** are this library without dropout; **{REMATERIALISED}** recomputes intermediate results
  for the gradient to save memory.
- **time**: median time of a step. The subjects take turns.
- **additional memory**: peak memory during a later step, minus the memory of the weights and of
  AdamW's averages. {{memory}}
- **first call**: time of the first call, including compilation if the framework compiles.
- **GEMM**: median rate of a 512x1024 by 1024x1024 matrix product in the same framework, measured
  between the steps.
- **latent products**: share of the time that the matrix products of the latents' self-attention
  layers would take at that rate. A step has three times the products of a call."""


def write(results: dict[str, Any], output: Path) -> None:
    """Write results.json, table.md and plot.png."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (output / "table.md").write_text(_document(results), "utf-8")
    _plot(results["cases"], output / "plot.png")


def reason(measured: dict[str, Any]) -> str:
    """The first line of a subject's error; results.json has all of it."""
    return measured["error"].strip().splitlines()[0][:200]


# The table


def _document(results: dict[str, Any]) -> str:
    if results["device"] == "cpu":
        memory = "Process memory; measured only on Linux."
    else:
        memory = "GPU memory as PyTorch counts it; not measured in other frameworks."
    trains = results.get("training")
    title, legend = ("Training", TRAINING_LEGEND) if trains else ("Calls", LEGEND)
    parts = [f"# {title}", "\n".join(_header(results)), legend.format(memory=memory)]
    for case in results["cases"]:
        parts += [
            f"## {_title(case)}",
            "\n".join(_table(case)),
            *_failures(case),
            f"Matrix products of the latents: {case['latent_gflop']:.1f} GFLOP.",
        ]
    if _rows_of_plot(results["cases"]):
        parts.append("![Time and memory](plot.png)")
    return "\n\n".join(parts) + "\n"


def _title(case: dict[str, Any]) -> str:
    shape = ONLY_SHAPE.get(case["model"], (case["size"], case["size"], 3))
    return f"{case['model']}, {' x '.join(map(str, shape))}, batch {case['batch']}"


def _header(results: dict[str, Any]) -> list[str]:
    lines = [f"- {name}: {value}" for name, value in results["machine"].items()]
    lines.append(f"- {results['dtype']} on {results['device']}")
    return [*lines, *(f"- Command: `{command}`" for command in results["commands"])]


def _table(case: dict[str, Any]) -> list[str]:
    rows = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]
    reference = case["subjects"].get(HUGGINGFACE, {})
    for name, measured in case["subjects"].items():
        if "error" in measured:
            rows.append([name, "failed", *[""] * (len(COLUMNS) - 2)])
        else:
            rows.append([name, *_cells(measured, reference, case["latent_gflop"], case["batch"])])
    return [f"| {' | '.join(row)} |" for row in rows]


def _failures(case: dict[str, Any]) -> list[str]:
    failed = {name: m for name, m in case["subjects"].items() if "error" in m}
    return [f"**{name}** failed: {reason(measured)}" for name, measured in failed.items()]


def _cells(measured: dict, reference: dict, latent_gflop: float, batch: int) -> list[str]:
    seconds, memory = _figures(measured)
    reference_seconds, reference_memory = _figures(reference)
    gemm = median(measured["gemm_gflop_per_second"])
    return [
        f"{seconds:.3g}",
        f"{min(measured['seconds']):.3g} - {max(measured['seconds']):.3g}",
        f"{batch / seconds:.3g}",
        str(len(measured["seconds"])),
        _ratio(seconds, reference_seconds),
        "n/a" if memory is None else f"{memory:,.0f}",
        _ratio(memory, reference_memory),
        f"{measured['first_call_seconds'][0]:.3g}",
        f"{gemm:,.0f}",
        f"{latent_gflop / gemm / seconds:.0%}",
    ]


def _figures(measured: dict) -> tuple[float | None, float | None]:
    """Median seconds and additional MiB; None if not measured."""
    if not measured or "error" in measured:
        return None, None
    (extra_bytes,) = measured["extra_bytes"]
    return median(measured["seconds"]), None if extra_bytes is None else extra_bytes / 2**20


def _ratio(value: float | None, reference: float | None) -> str:
    return f"{value / reference:.2f}" if value is not None and reference else "n/a"


# The plot


def _rows_of_plot(cases: list[dict]) -> list[tuple[str, int]]:
    """Pairs of model and batch size that were measured at more than one image size."""
    sizes = Counter((case["model"], case["batch"]) for case in cases)
    return [row for row, number in sizes.items() if number > 1]


def _plot(cases: list[dict], path: Path) -> None:
    """Draw one row for each model and batch size: time on the left, memory on the right."""
    rows = _rows_of_plot(cases)
    if not rows:
        return
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(11, 3.6 * len(rows)), squeeze=False, layout="constrained"
    )
    for row, (model, batch) in zip(axes, rows, strict=True):
        of_row = [case for case in cases if (case["model"], case["batch"]) == (model, batch)]
        for ax, index, what in zip(row, (0, 1), ("time, s", "additional memory, MiB"), strict=True):
            _draw_lines(ax, of_row, index)
            ax.set(title=f"{model}, batch {batch}", xlabel="pixels", ylabel=what)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _linestyle(name: str) -> str:
    """Dashed: plain reader, or compiled. Dotted: bfloat16. Dash-dot: the file of transformers."""
    if name.endswith((PLAIN, COMPILED)):
        return "--"
    if name.endswith(HALF):
        return ":"
    return "-." if name.startswith(f"{HUGGINGFACE}-") else "-"


def _draw_lines(ax: plt.Axes, cases: list[dict], index: int) -> None:
    for name in dict.fromkeys(name for case in cases for name in case["subjects"]):
        figures = [_figures(case["subjects"].get(name, {}))[index] for case in cases]
        ax.plot(
            [case["size"] ** 2 for case in cases],
            [float("nan") if figure is None else figure for figure in figures],
            label=name,
            color=next(COLOURS[part] for part in reversed(COLOURS) if part in name),
            linestyle=_linestyle(name),
            marker="o",
            markersize=4,
        )
    ax.set(xscale="log", yscale="log")
    sizes = sorted({case["size"] for case in cases})
    ax.set_xticks([size**2 for size in sizes], [f"{size}²" for size in sizes])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.minorticks_off()
    ax.grid(alpha=0.3)
