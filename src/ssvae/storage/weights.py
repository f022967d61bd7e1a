"""Files of torch, read without running code from them."""

import pickle
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: str | Path) -> Any:
    """Tensors and plain containers that ``torch.save`` wrote; a ValueError for any other file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own words advise to load it all the same.
        foreign = "Unsupported global" in str(error) or "Unsupported class" in str(error)
        reason = (
            "it holds objects besides tensors, which loading would run as code; ask for a file of "
            "tensors alone, such as safetensors"
            if foreign
            else "it is damaged, or torch did not write it"
        )
    except Exception as error:  # zip files, archives and their parts fail in many ways
        reason = f"it is damaged, or torch did not write it ({type(error).__name__})"
    raise ValueError(f"{path} does not load as weights: {reason}")
