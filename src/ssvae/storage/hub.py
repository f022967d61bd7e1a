"""Whether the hub answers: asked once and quickly, for its own clients try for half a minute."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)+(@[\w-][\w./-]*)?")
"""owner/name, owner/name/folder, and behind @ a revision: a branch, a tag or a commit."""
SECONDS = 5.0


@cache
def silence() -> str:
    """Why the hub does not answer; empty where it does."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # its transport's own, which have no common base
        return str(error).strip().split("\n")[0] or type(error).__name__
    return ""


def hub_options(
    name: str, file: str = "config.json", kind: str = "model"
) -> tuple[str, dict[str, Any]]:
    """A hub id (:data:`HUB_ID`) without its revision, and the options with which it is fetched, or
    taken from what was fetched before; a path that is here as it is, and none.

    Raises:
        ValueError: where the hub does not answer, and the id's ``file`` was not fetched before.
    """
    if Path(name).exists() or not HUB_ID.fullmatch(name):
        return name, {}
    plain, _, revision = name.partition("@")
    options = {"revision": revision} if revision else {}
    if not (reason := silence()):
        return plain, options
    owner, repository, *folders = plain.split("/")
    inside = "/".join([*folders, file])
    held = try_to_load_from_cache(f"{owner}/{repository}", inside, repo_type=kind, **options)
    if isinstance(held, str | os.PathLike):
        return plain, options | {"local_files_only": True}
    raise ValueError(
        f"{name} is not here, was not fetched before, and the hub does not answer ({reason})"
    )
