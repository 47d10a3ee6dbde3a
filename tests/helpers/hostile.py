"""Malicious files, and a program that reads them with little memory.

Each maker returns files by a name that describes the fault. A file with ``READ`` in its name is odd
but must be read.
"""

import io
import json
import os
import pickle
import signal
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

READ = "read: "
"""Mark in the name of a file that must be read."""

MEMORY = 512 << 20
"""Address space in bytes that reading may take after all modules are imported."""

TIME = 20
"""CPU seconds that a file may take, whatever else the machine does."""

# Pickles, by hand


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    data = value.to_bytes((value.bit_length() + 8) // 8, "little")
    return b"\x8a" + bytes([len(data)]) + data


def doubled(times):
    """Nested tuples, each of which holds the previous one twice: 2^times parts in a few bytes."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(times))


FLOATS = b"cnumpy\ndtype\n" + text("f4") + b"K\x00K\x01\x87R"
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


def array(shape, raw):
    """A program that makes an array; ``shape`` and ``raw`` are programs."""
    return EMPTY_ARRAY + b"(K\x01" + shape + FLOATS + b"\x89" + raw + b"tb"


def many(names, value):
    """A program that stores one value under many names."""
    put = b"r\xff\x00\x00\x00" + b"0"
    items = b"".join(text(str(i)) + b"j\xff\x00\x00\x00" for i in range(names))
    return value + put + b"}(" + items + b"u"


def pickles(canary):
    megabyte = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20)
    floats = b"J" + struct.pack("<i", 1 << 18) + b"\x85"
    from_memo = array(floats, b"h\x07")
    same_bytes = b"".join(text(str(i)) + from_memo for i in range(10_000))
    latin1 = b"c_codecs\nencode\nh\x07" + text("latin1") + b"\x86R"
    same_text = b"".join(text(str(i)) + array(floats, latin1) for i in range(10_000))
    programs = {
        "a name of 2^60 parts": b"}" + doubled(60) + b"Ns",
        "a shape of 2^60 parts": b"}" + text("w") + array(doubled(60), b"C\x00") + b"s",
        "a shape of huge sizes": b"}"
        + text("w")
        + array(b"(" + number(2**2000) * 20_000 + b"t", b"C\x00")
        + b"s",
        "a billion names": many(1000, many(1000, many(1000, array(b"K\x00\x85", b"C\x00")))),
        "ten thousand arrays of the same bytes": megabyte + b"q\x070}(" + same_bytes + b"u",
        "ten thousand arrays of the same text": text("\0" * (1 << 20))
        + b"q\x070}("
        + same_text
        + b"u",
        "a number of 5000 digits": b"}" + text("w") + b"L" + b"9" * 5000 + b"L\ns",
        "bytes that are not there": b"\x8e" + struct.pack("<Q", 1 << 40),
        "lists in lists": b"]" * 300_000 + b"a" * 299_999,
        "a list in itself": b"]q\x01h\x01a",
        "a name that rules the terminal": b"c\x1b[2J\x07\nsystem\n",
        "a very long name": b"c" + b"a" * 1_000_000 + b"\nsystem\n",
        "pairs with a name of 2^60 parts": b"ccollections\nOrderedDict\n]"
        + doubled(60)
        + b"N\x86a\x85R",
        "open by copyreg": b"ccopyreg\n_reconstructor\n(cos\nsystem\n"
        + text(f"touch {canary}")
        + b"tR",
        "a dtype of objects": b"cnumpy\ndtype\n" + text("O8") + b"K\x00K\x01\x87R",
    }
    files = {f"{name}.pystate": b"\x80\x02" + program + b"." for name, program in programs.items()}
    return files | {"a terabyte of nothing.pystate": sparse, "a pipe.pystate": os.mkfifo}


def sparse(path):
    Path(path).touch()
    os.truncate(path, 1 << 40)


# Files of torch.save


def tensor(shape, strides=b"K\x01\x85", offset=b"K\x00", reference=None, key=b"X\x01\0\0\x000"):
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + key + text("cpu") + b"K\x04t"
    reference = (storage if reference is None else reference) + b"Q"
    ordered = b"ccollections\nOrderedDict\n)R"
    arguments = b"(" + reference + offset + shape + strides + b"\x89" + ordered + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def torch_file(program, compression=zipfile.ZIP_STORED, size=16, more=(), repeated=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/data/0", bytes(size))
        for name, content in more:
            archive.writestr(name, content)
        archive.filelist += archive.filelist[2:3] * repeated
    return buffer.getvalue()


def torch_files(canary):
    four, billion = b"K\x04\x85", b"J" + struct.pack("<i", 10**9) + b"\x85"
    dense = b"}" + text("w") + tensor(four) + b"s"
    numbers = b"J" + struct.pack("<i", (1 << 18) - 5000) + b"\x85"
    places = [b"J" + struct.pack("<i", i) for i in range(5000)]
    overlapping, tied = (
        b"}("
        + b"".join(text(str(i)) + tensor(numbers, offset=at) for i, at in enumerate(offsets))
        + b"u"
        for offsets in (places, [places[0]] * 100)
    )
    link = zipfile.ZipInfo("model/link")
    link.external_attr = 0o120777 << 16

    def one(*arguments, **named):
        return torch_file(b"}" + text("w") + tensor(*arguments, **named) + b"s")

    files = {
        f"{READ}a tensor": torch_file(dense),
        f"{READ}names out of the folder": torch_file(
            dense, more=[("../../slipped", "x"), (f"/{canary}", "x")]
        ),
        f"{READ}a link": torch_file(dense, more=[(link, "/etc/passwd")]),
        "four numbers a billion times": one(billion, b"K\x00\x85"),
        "numbers after the last": one(four, offset=b"K\x01"),
        "numbers before the first": one(four, offset=b"J\xff\xff\xff\xff"),
        "steps back": one(four, b"J\xff\xff\xff\xff\x85"),
        "wide steps": one(four, billion),
        "a storage that is not there": one(four, key=text("../../../etc/passwd")),
        "a storage of 2^60 parts": one(four, key=doubled(60)),
        "another reference": one(four, reference=text("/etc/passwd")),
        f"{READ}a tensor of many names": torch_file(tied, size=1 << 20),
        "many tensors of one storage": torch_file(overlapping, size=1 << 20),
        "compressed": torch_file(dense, zipfile.ZIP_DEFLATED, 1 << 28),
        "an entry ten thousand times": torch_file(dense, size=1 << 20, repeated=10_000),
        "a command": torch_file(b"cos\nsystem\n" + text(f"touch {canary}") + b"\x85R"),
        "a storage that is called": torch_file(b"ctorch\nFloatStorage\nK\x04\x85R"),
        "a name of 2^60 parts": torch_file(b"}" + doubled(60) + b"Ns"),
        "a list": torch_file(b"]"),
        "not a pickle": torch_file(dense).replace(b"data.pkl", b"data.bin"),
        "two pickles": torch_file(dense, more=[("other/data.pkl", b"N.")]),
        "not a zip file": pickle.dumps({"w": 1}),
        "a terabyte of nothing": sparse,
    }
    return {f"{name}.bin": data for name, data in files.items()}


# safetensors


def safetensors(header, data=bytes(8), length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape, begin=0, end=8, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_files(_canary):
    files = {
        f"{READ}a tensor": safetensors({"a": entry([2])}),
        f"{READ}infinity": safetensors({"a": entry([2])}, np.float32([np.inf, np.nan]).tobytes()),
        "overlapping": safetensors({"a": entry([2]), "b": entry([2], 4, 12)}, bytes(12)),
        "beyond the end": safetensors({"a": entry([200], 0, 800)}),
        "far beyond the end": safetensors({"a": entry([2**60], 0, 2**62)}),
        "backwards": safetensors({"a": entry([2], 8, 0)}),
        "a hole": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
        "bytes that nothing names": safetensors({"a": entry([2])}, bytes(800)),
        "a shape that is another": safetensors({"a": entry([3])}),
        "a shape beyond 2^64": safetensors({"a": entry([2**33, 2**33])}),
        "a size below 0": safetensors({"a": entry([-2])}),
        "a size of 2^62": safetensors({"a": entry([0, 2**62], 0, 0)}, b""),
        "a size of 2^62, bfloat16": safetensors({"a": entry([0, 2**62], 0, 0, "BF16")}, b""),
        "a hundred axes": safetensors({"a": entry([1] * 100, 0, 4)}, bytes(4)),
        "float8": safetensors({"a": entry([8], dtype="F8_E4M3")}),
        "no type": safetensors({"a": entry([2], dtype="object")}),
        "a long header": safetensors({"a": entry([2])}, length=1 << 62),
        "a header beyond the end": safetensors({"a": entry([2])}, length=1000),
        "lists in lists": safetensors(b"[" * 100_000),
        "lists in metadata": safetensors(b'{"__metadata__":{"a":' + b"[" * 100_000),
        "no JSON": safetensors(b"\xff" * 100),
        "a terabyte of nothing": sparse,
    }
    return {f"{name}.safetensors": data for name, data in files.items()}


# Configurations


def configs(valid):
    """Faulty config.json files for a folder of this library, from the fields ``valid``."""
    fields = json.dumps(valid)

    def changed(**changes):
        return json.dumps(valid | changes).encode()

    def with_task(preprocessing):
        return changed(task={"preprocessing": preprocessing})

    def image(**changes):
        plain = {"size": [8, 8], "channels": 1, "crop_fraction": 1.0, "mean": [0], "std": [1]}
        return with_task({"kind": "ImagePreprocessing"} | plain | changes)

    nested = []
    for _ in range(900):
        nested = [nested]
    sound = {"kind": "SoundPreprocessing", "sample_rate": 1, "num_samples": 10**15}
    return {
        f"{READ}as it was": fields.encode(),
        f"{READ}images": image(),
        "lists in lists": b"[" * 1_000_000,
        "mappings in mappings": b'{"a":' * 100_000,
        "lists in a field": changed(max_fourier_freq=nested),
        "lists in the task": with_task(nested),
        "a field twice": b'{"num_latents": 3, ' + fields.encode()[1:],
        "a number of 5000 digits": fields.replace("7", "7" * 5000).encode(),
        "a number beyond floats": changed(attn_dropout=10**400),
        "a frequency beyond floats": changed(max_fourier_freq=[10**400, 3]),
        "not a number": changed(output_scale=float("nan")),
        "infinity": changed(max_fourier_freq=float("inf")),
        "frequencies in frequencies": changed(max_fourier_freq=[[3, 3], [3, 3]]),
        "a billion layers": changed(num_lat_att_per_layer=10**9),
        "a billion untied layers": changed(network_depth=10**9, weight_tie_layers=False),
        "a billion axes": changed(num_input_axes=10**9),
        "a billion latents": changed(num_latents=10**9),
        "a size below 0": changed(num_latents=-1),
        "no fields": b"{}",
        "other fields": b'{"__class__": 1}',
        "a field that rules the terminal": changed(**{"\x1b[2J" * 10**5: 1}),
        "not UTF-8": b'{"\xff": 1}',
        "UTF-16": fields.encode("utf-16"),
        "nothing": b"",
        "ten megabytes": b" " * 10_000_000 + fields.encode(),
        "another kind of task": with_task({"kind": "__class__"}),
        "an image of a terabyte": image(size=[10**6, 10**6]),
        "an image without height": image(size=[8]),
        "an image of 7 channels": image(channels=7),
        "an image of text": image(crop_fraction="all"),
        "an image divided by 0": image(std=[0]),
        "a sound of a terabyte": with_task(sound),
        "labels that are a number": changed(task={"labels": 3}),
        "labels that are numbers": changed(task={"labels": [3, 4]}),
        "a tokenizer that is text": changed(task={"tokenizer": "bytes"}),
        "transformers with a number beyond floats": json.dumps(
            {
                "architectures": ["PerceiverForImageClassificationFourier"],
                "model_type": "perceiver",
                "attention_probs_dropout_prob": 10**400,
            }
        ).encode(),
        "transformers with a billion layers": json.dumps(
            {
                "architectures": ["PerceiverForImageClassificationFourier"],
                "model_type": "perceiver",
                "num_self_attends_per_block": 10**9,
            }
        ).encode(),
        "a pipe": os.mkfifo,
    }


# Images


def encoded(image, kind, **options):
    image.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def png_chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, data, *more):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def images(canary):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (40, 60), np.uint16))
    not_finite = Image.fromarray(np.full((9, 9), np.nan, np.float32))
    zeros = zlib.compress(bytes(1 << 26), 9)
    postscript = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({canary}) (w) file\nshowpage\n"
    files = {
        f"{READ}animated.gif": encoded(photo, "GIF", save_all=True, append_images=[photo] * 3),
        f"{READ}animated.webp": encoded(photo, "WEBP", save_all=True, append_images=[photo] * 3),
        f"{READ}CMYK.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        f"{READ}CMYK.tif": encoded(photo.convert("CMYK"), "TIFF"),
        f"{READ}16 bits.png": encoded(deep, "PNG"),
        f"{READ}16 bits.tif": encoded(deep, "TIFF"),
        f"{READ}a photo called.png": encoded(photo, "JPEG"),
        f"{READ}one pixel.bmp": encoded(photo.resize((1, 1)), "BMP"),
        "more pixels than allowed.png": png(60_000, 60_000, zeros),
        "far more pixels than allowed.png": png(2**31 - 1, 2**31 - 1, b""),
        "text of a gigabyte.png": png(1, 1, b"", (b"zTXt", b"a\0\0" + zeros * 16)),
        "a frame larger than the image.gif": b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0",
        "no pixels.png": png(0, 0, b""),
        "a program.png": postscript.encode(),
        "not a number.tif": encoded(not_finite, "TIFF"),
        "text.png": b"text",
        "nothing.png": b"",
        "a folder.png": os.mkdir,
        "a pipe.png": os.mkfifo,
    }
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        data = encoded(photo, kind)
        files[f"cut.{kind.lower()}"] = data[: len(data) // 2]
    return files


# Damage


def damaged(data, flips=200):
    """Cut at every 1,000th byte (more often in a short file), or with one bit flipped at random."""
    rng = np.random.default_rng(0)
    for length in range(0, len(data), min(1000, len(data) // 10)):
        yield f"cut at {length}", data[:length]
    for place, bit in zip(
        rng.integers(0, len(data), flips), rng.integers(0, 8, flips), strict=True
    ):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place}", bytes(changed)


# The process that reads


def readers(folder):
    """Readers by the subfolder whose files they read."""
    from ivy_models.checkpoints.folder import read_safetensors, read_spec
    from ivy_models.checkpoints.load import load_weights
    from ivy_models.checkpoints.pickles.torch_file import read_torch
    from ivy_models.checkpoints.pickles.unpickle import unpickle
    from ivy_models.preprocessing import ImagePreprocessing
    from ivy_models.transformers.perceiver_io import PerceiverIO
    import ivy

    ivy.set_backend("numpy")
    for plugin in ("preinit", "init"):
        getattr(Image, plugin)()

    def read_damaged(path):
        if path.name == "config.json":
            return PerceiverIO.from_pretrained(path.parent)
        return load_weights(path, read_spec(folder / "whole" / path.suffix))

    return {
        "pickles": unpickle,
        "torch": read_torch,
        "safetensors": read_safetensors,
        "configs": lambda path: PerceiverIO.from_pretrained(path.parent),
        "images": ImagePreprocessing((8, 8), 3, 1.0, (0, 0, 0), (1, 1, 1)),
        "damaged": read_damaged,
    }


def main():
    """Read each file named on stdin, one per line; print its name, outcome and message as JSON."""
    import resource

    from ivy_models.errors import InputError, SpecError, WeightsError

    folder = Path(sys.argv[1])
    read = readers(folder)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, [pages * resource.getpagesize() + MEMORY] * 2)
    signal.signal(signal.SIGPROF, lambda *_: sys.exit("It took too long."))
    for line in map(str.strip, sys.stdin):
        signal.setitimer(signal.ITIMER_PROF, TIME)
        outcome, message = "read", ""
        try:
            kind = Path(line).relative_to(folder).parts[0]
            read[kind](Path(line))
        except (InputError, SpecError, WeightsError) as error:
            outcome, message = "refused", str(error)
        except Exception as error:
            outcome, message = "failed", repr(error)[:1000]
        print(json.dumps([line, outcome, message]), flush=True)


if __name__ == "__main__":
    main()
