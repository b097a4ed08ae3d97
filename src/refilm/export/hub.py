"""Weight files on a hub: `from_pretrained` and `push_to_hub`, through huggingface_hub.

What is fetched is kept in that package's cache, and found there without a network. Only safetensors files are fetched,
and their checksum is that in their name, so nothing that runs code is ever loaded.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from refilm.errors import RefilmError, UsageError, WeightsError
from refilm.export.cards import model_card
from refilm.models.table import create_model
from refilm.weights import name_by_content
from refilm.weights.files import located


def from_pretrained(
    name: str | Path,
    *,
    file: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    **overrides: Any,
) -> nn.Module:
    """Make a model from a weight file on the hub, or in a folder.

    name        "user/name" on the hub, or a folder that `push_to_hub` or `refilm train --export` could have filled
    file        which weight file, where there are several
    revision    branch, tag or commit. Default: the newest, or without a network the newest that was fetched
    token       for private repositories. Default: that of `hf auth login`
    overrides   fields of the model's config, as for `create_model`

    Raises WeightsError if there is no such repository or weight file, or neither network nor cached file; RefilmError
    if the package huggingface_hub is missing.
    """
    return create_model(str(fetch(name, file=file, revision=revision, token=token)), **overrides)


def fetch(name: str | Path, *, file: str | None = None, revision: str | None = None, token: str | None = None) -> Path:
    """The path of a weight file on the hub or in a folder; see `from_pretrained`."""
    folder = Path(name)
    if not folder.is_dir():
        with _hub(str(name)) as hub:
            folder = Path(
                hub.snapshot_download(str(name), revision=revision, token=token, allow_patterns="*.safetensors")
            )
    found = sorted(folder.glob(file or "*.safetensors"))
    if len(found) != 1:
        has = ", ".join(path.name for path in sorted(folder.glob("*.safetensors"))) or "none"
        raise WeightsError(f"{name}: wanted one weight file {file or ''}, and there are: {has}; name one as `file`")
    return found[0]


def push_to_hub(
    weights: str | Path,
    name: str,
    *,
    private: bool = False,
    token: str | None = None,
    data: str = "",
    limits: str = "",
    licence: str = "apache-2.0",
) -> str:
    """Put a weight file on the hub, with a model card made from its figures. -> the address of the commit

    weights   a weight file of refilm: its path, or the name of one that ships
    name      "user/name"; made if there is none
    data      what it was trained on, in words, for the card
    limits    what it is not good for, in words, for the card
    licence   of the weights, by its identifier on the hub

    Raises WeightsError if the file is none of refilm's, or the hub refuses; RefilmError if huggingface_hub is missing.
    """
    path = located(weights)
    file = name_by_content(path)
    card = model_card(path, name, data=data, limits=limits, licence=licence)
    with tempfile.TemporaryDirectory() as folder, _hub(name) as hub:
        shutil.copyfile(path, Path(folder) / file)
        (Path(folder) / "README.md").write_text(card)
        api = hub.HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message=f"Add {file}")
    return str(done.commit_url)


@contextmanager
def _hub(name: str) -> Iterator[Any]:
    """The package huggingface_hub; its errors become WeightsError."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise RefilmError('weights on a hub need the package huggingface_hub: pip install "refilm[hub]"') from None
    try:
        yield huggingface_hub
    except errors.HFValidationError:
        raise UsageError(f"{name}: wanted a folder that exists, or a name on the hub such as user/name") from None
    except errors.GatedRepoError:
        raise WeightsError(f"{name}: its owner wants you to agree to conditions first, on its page") from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"{name}: no such repository on the hub, or a private one; for that, `hf auth login` or a token"
        ) from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"{name}: has no such revision") from None
    except errors.LocalEntryNotFoundError:
        raise WeightsError(f"{name}: cannot be fetched without a network, and is not in the cache") from None
    except Exception as error:  # of the HTTP library underneath, which is another one in each version
        said = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"{name}: the hub did not answer as it should ({said})") from error
