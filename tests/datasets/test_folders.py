"""Folders by class."""

import os
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from ivy_models.datasets import checking, read_rows, read_training_data
from ivy_models.errors import BackendError, InputError
from ivy_models.preprocessing import SoundPreprocessing, TextPreprocessing
from ivy_models.training.report.metrics import true_values


def write_images(folder, rng, classes=("cat", "dog"), count=10, size=(12, 16)):
    for value, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (*size, 3)) + 100 * value
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def write_sound(path, samples, rate=4000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def test_a_folder_by_class_becomes_batches(tmp_path, rng):
    write_images(tmp_path, rng)
    data = read_training_data(tmp_path)
    (target,) = data.targets
    assert (target.name, target.labels) == ("label", ("cat", "dog"))
    assert (len(data.train), len(data.validation)) == (16, 4)
    batch = data.train.batch([0, 15])
    assert batch.data.shape == (2, 12, 16, 3) == (2, *data.preprocessing.size, 3)
    assert batch.mask is None
    assert batch.targets["label"].tolist() == [0, 1]
    assert sorted(data.validation.encoded_targets()["label"]) == [0, 0, 1, 1]
    assert [(c.name, c.kind, c.is_target) for c in data.columns] == [
        ("file", "image", False),
        ("label", "class", True),
    ]
    assert data.columns[1].detail == "2 classes: cat (10), dog (10)"
    assert data.warnings == ()


def test_the_split_depends_on_the_seed_alone(tmp_path, rng):
    write_images(tmp_path, rng)

    def held_out(seed):
        examples = read_training_data(tmp_path, seed=seed).validation
        return [examples.name(i) for i in range(len(examples))]

    assert held_out(0) == held_out(0)
    assert held_out(0) != held_out(1)
    assert len(read_training_data(tmp_path, validation=0.5).validation) == 10
    with pytest.raises(InputError, match="between 0 and 1"):
        read_training_data(tmp_path, validation=1.5)


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "val"),
        ("training", "test"),
        ("train", "dev", "test"),
        ("Training_Set", "test_set"),
        ("train_images", "validate"),
        ("train", "eval"),
    ],
)
def test_parts_that_are_given_are_kept_apart(tmp_path, rng, parts):
    for part, count in zip(parts, (3, 2, 1), strict=False):
        write_images(tmp_path / part, rng, count=count)
    data = read_training_data(tmp_path)
    assert (len(data.train), len(data.validation)) == (6, 4)
    assert all(data.validation.source(i).parts[-3] == parts[1] for i in range(4))
    data = read_training_data(tmp_path / parts[0], validation=tmp_path / parts[1])
    assert (len(data.train), len(data.validation)) == (6, 4)


def test_files_outside_the_parts_are_named(tmp_path, rng):
    for folder in ("train", "test", "testing", "more"):
        write_images(tmp_path / folder, rng, count=2)
    (tmp_path / "notes.log").write_text("of no kind")
    (warning,) = read_training_data(tmp_path).warnings
    said = "Left out, because not in the parts test, train: 8 files, more/cat/0.png, more/cat/1.png"
    assert warning.startswith(said)


def test_a_part_without_classes_is_not_used(tmp_path, rng):
    write_images(tmp_path / "train", rng, count=5)
    write_images(tmp_path, rng, classes=("test",))
    data = read_training_data(tmp_path)
    assert (len(data.train), len(data.validation)) == (8, 2)
    assert data.warnings == ("The part test has no targets, so it is not used.",)


def test_parts_that_look_like_classes_are_named(tmp_path, rng):
    for part in ("first", "second"):
        write_images(tmp_path / part, rng, count=3)
    data = read_training_data(tmp_path)
    assert data.targets[0].labels == ("first", "second")
    assert data.warnings[0].startswith("All classes have the same subfolders: cat, dog. These are")


def test_names_of_folders_have_one_form_of_unicode(tmp_path, rng):
    write_images(tmp_path, rng, classes=("cafe\u0301", "bar"))
    assert read_training_data(tmp_path).targets[0].labels == ("bar", "caf\u00e9")


def test_a_class_may_be_called_train(tmp_path, rng):
    write_images(tmp_path, rng, classes=("car", "train"))
    assert read_training_data(tmp_path).targets[0].labels == ("car", "train")


def test_classes_are_the_folders_names_as_they_are(tmp_path, rng):
    """A word for nothing is a class too, and many numbers are not a number to predict."""
    names = ("none", "1.0", "NA", *map(str, range(10, 31)))
    write_images(tmp_path, rng, classes=names, count=2)
    data = read_training_data(tmp_path, validation=0.5)
    (target,) = data.targets
    assert target.labels == ("1.0", *map(str, range(10, 31)), "NA", "none")
    assert not data.warnings
    rows = read_rows(tmp_path)
    true = true_values(target, rows.column("label"))
    assert [target.labels[i] for i in true] == rows.column("label")


def test_images_do_not_fit_a_model_of_sounds(tmp_path, rng):
    write_images(tmp_path, rng, count=1)
    with pytest.raises(
        InputError, match="are images, but the SoundPreprocessing of the model reads sounds"
    ):
        read_training_data(tmp_path, preprocessing=SoundPreprocessing(4000, 416))


def test_a_folder_of_sounds(tmp_path, rng):
    for name in ("high", "low"):
        for i in range(4):
            write_sound(tmp_path / name / f"{i}.wav", rng.uniform(-0.5, 0.5, 410))
    data = read_training_data(tmp_path)
    assert data.preprocessing == SoundPreprocessing(4000, 416)
    assert data.train.batch([0]).data.shape == (1, 416, 1)


def test_a_folder_of_texts(tmp_path):
    for name, text in (("english", "hello"), ("german", "grüß Gott")):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.txt").write_text(text + str(i))
    data = read_training_data(tmp_path)
    assert data.preprocessing == TextPreprocessing(16)
    batch = data.train.batch([0, 1])
    assert batch.data.shape == batch.mask.shape == (2, 16)
    assert batch.mask[0].sum() == 6


def test_rows_of_a_folder_know_their_labels(tmp_path, rng):
    write_images(tmp_path, rng, count=1)
    rows = read_rows(tmp_path)
    assert [rows.name(i) for i in range(len(rows))] == ["cat/0.png", "dog/0.png"]
    assert rows.column("label") == ["cat", "dog"]
    assert read_rows(tmp_path / "cat").columns == ()
    assert read_rows(tmp_path / "cat" / "0.png")[0] == tmp_path / "cat" / "0.png"


def test_broken_files_are_named_and_left_out(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(checking, "CHUNK", 3)
    write_images(tmp_path, rng)
    (tmp_path / "cat" / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 20 .* more than 1%.*cat/3\.png"):
        read_training_data(tmp_path, max_broken=0.01)
    data = read_training_data(tmp_path)
    assert len(data.train) + len(data.validation) == 19
    (warning,) = data.warnings
    assert "they cannot be read: 1 of 20 examples. cat/3.png is not an image" in warning
    for i in range(4, 8):
        (tmp_path / "cat" / f"{i}.png").write_bytes(b"")
    (warning,) = read_training_data(tmp_path, max_broken=0.5).warnings
    assert warning.count(str(tmp_path)) == 0
    assert warning.endswith(
        "cat/5.png is not an image, or has a format that Pillow cannot read. And 2 others."
    )


def test_files_of_operating_systems_are_not_read(tmp_path, rng):
    write_images(tmp_path, rng)
    write_images(tmp_path, rng, classes=("@eaDir", "__MACOSX"))
    for name in ("Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    data = read_training_data(tmp_path)
    assert data.labels == ("cat", "dog")
    assert not data.warnings


def test_images_that_pillow_cannot_read_are_named(tmp_path, rng):
    write_images(tmp_path, rng)
    (tmp_path / "cat" / "x.heic").write_bytes(b"x")
    (warning,) = read_training_data(tmp_path).warnings
    assert warning.endswith("cat/x.heic. Save images of this kind as PNG or JPEG.")


def test_images_of_twelve_bits_use_the_whole_range(tmp_path, rng):
    for i in range(20):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 4096, (8, 8), dtype=np.uint16)
        pixels[0, 0], pixels[-1, -1] = 0, 4095
        Image.fromarray(pixels).save(path)
    data = read_training_data(tmp_path, augment=False)
    pixels = data.train.batch(range(8)).data
    assert (pixels.min(), pixels.max()) == pytest.approx((-1, 1), abs=1e-6)
    write_images(tmp_path, rng, classes=("c",))  # of 8 bits
    assert read_training_data(tmp_path).preprocessing.mean == (0.5,) * 3


def test_copies_are_never_divided(tmp_path, rng):
    write_images(tmp_path, rng, count=4)
    for i in range(20):
        (tmp_path / "cat" / f"copy{i}.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    (tmp_path / "dog" / "copy.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    for seed in range(4):
        data = read_training_data(tmp_path, seed=seed)
        parts = [
            {part.source(i).read_bytes() for i in range(len(part))}
            for part in (data.train, data.validation)
        ]
        assert not parts[0] & parts[1]
    assert any("cat/0.png and dog/copy.png" in warning for warning in data.warnings)


def test_what_should_be_looked_at_is_said(tmp_path, rng):
    write_images(tmp_path, rng, classes=("cat", "C at", "dog"))
    write_images(tmp_path, rng, classes=("bird",), count=1)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    Image.new("RGB", (8, 8)).save(tmp_path / "top.png")
    text = "\n".join(read_training_data(tmp_path).warnings)
    assert "'C at' and 'cat' of 'label' differ only in case or spaces" in text
    assert "one example each, so that validation has none: 'bird'" in text
    assert "Left out, because not images: 1 file, notes.pdf" in text
    assert "Left out, without a target: 1 of 32 examples" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no files"),
        (["a.pdf"], "no images, sounds, texts or tables, but a.pdf"),
        (["a.zip"], "Unpack it, and name the folder or the table"),
        (["a.png", "b.png"], "not in folders that name their classes"),
        (["a.txt"], r"not in folders.*The name of a table ends in .csv or .tsv"),
        (["cat/a.png"], "in one subfolder, cat; training needs at least two classes"),
        (["pets/cat/a.png", "pets/dog/b.png"], "train on pets"),
        (["cat/a.png", "dog/b.png"], r"None of 2 images can be read: .*The first: cannot id"),
    ],
)
def test_a_folder_without_classes_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        read_training_data(tmp_path)


def test_one_example_of_each_class_is_too_few(tmp_path, rng):
    write_images(tmp_path, rng, count=1)
    with pytest.raises(InputError, match="2 examples are too few"):
        read_training_data(tmp_path)


def test_a_folder_that_is_missing_is_named(tmp_path):
    for read in (read_rows, read_training_data):
        with pytest.raises(InputError, match="There is no file or folder .*nowhere"):
            read(tmp_path / "nowhere")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_augmented_by_the_generator_alone(tmp_path, rng, channels):
    import torch

    write_images(tmp_path, rng, count=3)
    for file in tmp_path.rglob("*.png"):
        if channels == 1:
            Image.open(file).convert("L").save(file)
    data = read_training_data(tmp_path, augment=True)
    plain = data.train.batch([0, 1]).data
    state = torch.get_rng_state()
    changed = [data.train.batch([0, 1], np.random.default_rng(s)).data for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(changed[0], changed[1])
    assert changed[0].shape == plain.shape == (2, 12, 16, channels)
    assert changed[0].dtype == np.float32
    assert np.abs(changed[0]).max() <= 1
    assert not np.allclose(changed[0], changed[2])
    assert not np.allclose(changed[0], plain)


@pytest.mark.parametrize(
    ("module", "package", "augment"),
    [("kornia", "kornia", True), ("sklearn.model_selection", "scikit-learn", False)],
)
def test_a_package_that_is_missing_is_named(tmp_path, rng, monkeypatch, module, package, augment):
    write_images(tmp_path, rng, count=3)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=f"pip install {package}"):
        read_training_data(tmp_path, augment=augment)


def test_images_are_shifted_unless_no_change_is_asked_for(tmp_path, rng):
    write_images(tmp_path, rng, count=3, size=(16, 16))
    train = read_training_data(tmp_path).train
    plain = train.batch([0, 1, 2]).data
    shifted = [train.batch([0, 1, 2], np.random.default_rng(s)).data for s in range(20)]
    np.testing.assert_array_equal(shifted[0], train.batch([0, 1, 2], np.random.default_rng(0)).data)
    wide = np.pad(plain, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")  # an eighth of 16 pixels
    places = [(y, x) for y in range(5) for x in range(5)]
    found = {
        next((y, x) for y, x in places if np.array_equal(image, wide[i, y : y + 16, x : x + 16]))
        for images in shifted
        for i, image in enumerate(images)
    }
    assert {y for y, _ in found} == {x for _, x in found} == set(range(5))
    same = read_training_data(tmp_path, augment=False).train
    np.testing.assert_array_equal(same.batch([0, 1, 2], np.random.default_rng(0)).data, plain)


def test_images_are_flipped_if_asked_for(tmp_path, rng):
    write_images(tmp_path, rng, count=3)
    train = read_training_data(tmp_path, augment=False, flip=True).train
    plain = train.batch([0, 1, 2]).data
    flips = []
    for seed in range(10):
        changed = train.batch([0, 1, 2], np.random.default_rng(seed)).data
        flips += [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed, plain, strict=True)]
        both = np.stack([plain, plain[:, :, ::-1]])
        assert all((image == both[:, i]).all((1, 2, 3)).any() for i, image in enumerate(changed))
    assert 5 < sum(flips) < 25
    shifted = read_training_data(tmp_path, flip=True).train
    data = [shifted.batch([0, 1, 2], np.random.default_rng(s)).data for s in (1, 1, 2)]
    np.testing.assert_array_equal(data[0], data[1])
    assert not np.allclose(data[0], data[2])


def test_sounds_are_augmented_and_texts_are_not(tmp_path, rng):
    for name in ("a", "b"):
        for i in range(3):
            write_sound(tmp_path / "sounds" / name / f"{i}.wav", rng.uniform(-0.5, 0.5, 400))
            (tmp_path / "texts" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "texts" / name / f"{i}.txt").write_text(f"{name} {i}")
    data = read_training_data(tmp_path / "sounds", augment=True)
    changed = [data.train.batch([0], np.random.default_rng(s)).data for s in (1, 1, 2)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.allclose(changed[0], changed[2])
    shifted = read_training_data(tmp_path / "sounds").train
    data, plain = shifted.batch([0], np.random.default_rng(1)).data, shifted.batch([0]).data
    assert 360 <= np.isin(data, plain[plain != 0]).sum() < 400  # the others are silent
    assert read_training_data(tmp_path / "texts").train.augmentation is None
    with pytest.raises(InputError, match="Only images and sounds can be augmented"):
        read_training_data(tmp_path / "texts", augment=True)
    with pytest.raises(InputError, match="Only images can be flipped"):
        read_training_data(tmp_path / "sounds", flip=True)


def test_links_to_folders_are_followed(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "1.txt").write_text("text")
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
        (tmp_path / "elsewhere" / name / "circle").symlink_to(tmp_path / "data")
    rows = read_rows(tmp_path / "data")
    assert {rows.name(i).split("/")[0] for i in range(len(rows))} == {"cat", "dog"}
    assert len(rows) < 10


def test_metadata_are_the_columns_of_a_table(tmp_path, rng):
    """As in Hugging Face's imagefolder, the folders' names are then not the target."""
    write_images(tmp_path, rng, count=20)
    rows = [
        f"{c}/{i}.png,{i % 7},{('train', 'test')[i % 2]}" for c in ("cat", "dog") for i in range(20)
    ]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
    data = read_training_data(tmp_path)
    assert [(column.name, column.kind) for column in data.columns] == [
        ("file_name", "image"),
        ("label", "class"),
        ("split", "category"),
    ]
    assert "The column 'split' names parts of the data, test, train, but it is" in data.warnings[0]


def test_broken_links_are_named(tmp_path, rng):
    write_images(tmp_path, rng)
    (tmp_path / "cat" / "11.png").symlink_to(tmp_path / "nowhere.png")
    (warning,) = read_training_data(tmp_path).warnings
    assert "1 of 21 examples. cat/11.png cannot be read: " in warning


def test_names_that_are_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/cat\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with open(folder + b"/\xfe.txt", "w") as file:
        file.write("text")
    rows = read_rows(tmp_path)
    assert (rows.column("label"), rows.name(0)) == (["cat\ufffd"], "cat\ufffd/\ufffd.txt")
