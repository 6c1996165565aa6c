"""Whether a model is here or can be fetched, told from its index alone before gigabytes are."""

import json
import re
from pathlib import Path
from typing import Any

from ..tools.errors import ModelError

INDEX = "model_index.json"
TIMEOUT = 5
"""Seconds for one question to the hub."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(model: str) -> bool:
    """Whether it reads like ``owner/name`` and is no folder here."""
    return _HUB_ID.fullmatch(model) is not None and not Path(model).is_dir()


def pipeline_class(model: str) -> str:
    """The class of pipeline that the model's index names; of a hub model that is not here, the index is fetched.

    Raises:
        ModelError: there is no such model, or it cannot be fetched.
    """
    try:
        index: dict[str, Any] = json.loads(_index_file(model).read_text(encoding="utf-8"))
        return str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{model} has no readable {INDEX}, so it is no diffusers model") from error


def check_available(model: str) -> None:
    """Ask the hub, in one short question, whether it would give the model to this user.

    Raises:
        ModelError: it would not, or it cannot be asked; the message says what to do.
    """
    import httpx
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{model} is not downloaded, and HF_HUB_OFFLINE is set: unset it, or give a diffusers folder")
    try:
        answer = httpx.head(hf_hub_url(model, INDEX), headers=build_hf_headers(), timeout=TIMEOUT)
    except httpx.HTTPError as error:
        raise ModelError(
            f"{model} is not downloaded, and the hub cannot be reached ({error}): connect, or download it elsewhere "
            "and name its folder with --diffusion FOLDER"
        ) from error
    if answer.status_code >= 400:
        raise ModelError(_refusal(model, answer.status_code, answer.headers.get("X-Error-Code", "")))


def _refusal(model: str, status: int, code: str) -> str:
    if code == "GatedRepo" or status == 403:
        return (
            f"{model} is gated: accept its licence at https://huggingface.co/{model}, "
            "then log in with `hf auth login` or set HF_TOKEN"
        )
    if code == "EntryNotFound":
        return f"{model} on the hub has no {INDEX}, so it is no diffusers model"
    if status in (401, 404):
        return f"the hub has no model {model}; if it is private, log in with `hf auth login` or set HF_TOKEN"
    return f"the hub does not give {model} (status {status}): try again later"


def _index_file(model: str) -> Path:
    if not is_hub_id(model):
        return Path(model) / INDEX
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(model, INDEX)
    if isinstance(kept, str):
        return Path(kept)
    check_available(model)
    return Path(hf_hub_download(model, INDEX))
