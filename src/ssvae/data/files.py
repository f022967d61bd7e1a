"""Small files, written whole or not at all."""

import base64
import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file under another name and give it its own in one move."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a MIME type as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
