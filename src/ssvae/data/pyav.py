"""PyAV, imported where a file is first opened: what trains on the procedural world needs none."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av as av
else:

    class _Late:
        """Stands for the package, which it imports when something of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            try:
                package = import_module("av")
            except ImportError as error:
                raise ImportError(
                    "video files are read and written by PyAV, which is not installed here: "
                    "pip install av"
                ) from error
            return getattr(package, name)

    av = _Late()
