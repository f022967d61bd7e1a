"""The page as a Space: put this file and README.md into one; edit the models."""

from functools import partial

import torch

from ssvae.app.films import Limits
from ssvae.app.page import Address, build, serve
from ssvae.app.shared import Models

limits = Limits(seconds=2.0)
models = Models({"SSVAE": "zai-org/SSVAE"}, "cpu", torch.float32)
serve(partial(build, models, limits), limits, Address(host="0.0.0.0"), print)
