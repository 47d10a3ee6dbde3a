"""Models from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.download.cache import OFFLINE_VARIABLE, is_offline
from ivy_models.checkpoints.huggingface.attributes import PREPROCESSOR_FILE, TOKENIZER_FILE
from ivy_models.checkpoints.huggingface.weights import CONFIG_FILE, TORCH_FILE, WEIGHTS_FILE
from ivy_models.checkpoints.shards import index_name, read_index
from ivy_models.errors import DownloadError, WeightsError, how_to_install

OTHER_FILES = [CONFIG_FILE, PREPROCESSOR_FILE, TOKENIZER_FILE]
"""Files of a repository other than its weights."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def local_folder(source: str | Path) -> Path:
    """Return a model's folder, downloading it from the hub if it is not on this machine.

    Parameters
    ----------
    source
        A folder, or the name of a repository on the hub, "owner/name".

    Returns
    -------
    Path
        The folder, or the repository's folder in the hub's cache, whose place ``HF_HOME`` sets.
        With ``HF_HUB_OFFLINE=1`` or ``IVY_MODELS_OFFLINE=1`` the hub is not contacted.

    Raises
    ------
    WeightsError
        If it is neither, or its index of shards is broken.
    DownloadError
        If the repository cannot be downloaded.
    """
    if user_path(source).is_dir():
        return user_path(source)
    if isinstance(source, Path) or not _REPOSITORY.fullmatch(source):
        raise WeightsError(
            f"There is no folder {source}, and it is not the name of a repository, such as "
            "deepmind/optical-flow-perceiver."
        )
    for file in (WEIGHTS_FILE, TORCH_FILE):
        index = index_name(file)
        folder = _download(source, [*OTHER_FILES, file, index])
        if (folder / file).exists():
            break
        if (folder / index).exists():
            return _download(source, [*OTHER_FILES, index, *read_index(folder / index)])
    return folder


def _download(repository: str, files: list[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise DownloadError(
            f"There is no folder {repository}. To load a model from the hub, install "
            f"huggingface_hub. {how_to_install('hub')}"
        ) from error
    try:
        return Path(
            snapshot_download(repository, allow_patterns=files, local_files_only=is_offline())
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        why = f"{OFFLINE_VARIABLE} is set, and {error}" if is_offline() else error
        raise DownloadError(
            f"There is no folder {repository}, and it could not be downloaded from the hub: {why}\n"
            f"Without a network, pass a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or copy the "
            "hub's cache to this machine."
        ) from error
