"""What the project uses, each name from its own module: through the package's own __init__, which imports
four hundred models, pyright takes nearly twice as long."""

from typing import Any

from transformers.models.auto.configuration_auto import AutoConfig as AutoConfig
from transformers.models.auto.modeling_auto import (
    AutoModelForTextEncoding as AutoModelForTextEncoding,
)
from transformers.models.auto.tokenization_auto import AutoTokenizer as AutoTokenizer
from transformers.models.umt5.configuration_umt5 import UMT5Config as UMT5Config
from transformers.models.umt5.modeling_umt5 import UMT5EncoderModel as UMT5EncoderModel
from transformers.models.videomae.modeling_videomae import VideoMAEModel as VideoMAEModel
from transformers.tokenization_python import PreTrainedTokenizer as PreTrainedTokenizer

def __getattr__(name: str) -> Any: ...
