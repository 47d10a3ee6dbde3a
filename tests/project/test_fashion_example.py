"""Fashion-MNIST's files become folders of images that ``ivy-models train`` reads."""

import gzip
import hashlib

import fashion
import numpy as np
import pytest
from PIL import Image


def test_files_become_images_by_class(tmp_path, rng, monkeypatch):
    images = rng.integers(0, 256, (10, 28, 28), np.uint8)
    classes = np.arange(9, -1, -1, dtype=np.uint8)
    for name in fashion.CHECKSUMS:
        is_images = "images" in name
        header = bytes(fashion.IMAGES_HEADER if is_images else fashion.LABELS_HEADER)
        content = gzip.compress(header + (images if is_images else classes).tobytes())
        (tmp_path / name).write_bytes(content)
        monkeypatch.setitem(fashion.CHECKSUMS, name, hashlib.sha256(content).hexdigest())
    fashion.main([str(tmp_path), str(tmp_path / "images")])
    for part in ("train", "test"):
        files = sorted((tmp_path / "images" / part).rglob("*.png"))
        assert {file.parent.name for file in files} == set(fashion.LABELS)
        boot = tmp_path / "images" / part / "ankle boot" / "00000.png"
        np.testing.assert_array_equal(np.asarray(Image.open(boot)), images[0])
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"other")
    with pytest.raises(SystemExit, match="t10k-labels-idx1-ubyte.gz has the SHA-256 .*; expected"):
        fashion.main([str(tmp_path), str(tmp_path / "images")])
