"""The page as a Space: put this file and README.md into one; edit the models."""

from functools import partial

import torch

from ssvae.app.films import Limits
from ssvae.app.generate import generate_panel
from ssvae.app.page import Address, build, serve
from ssvae.app.shared import Models
from ssvae.models.shipped import shipped_autoencoders

limits = Limits(seconds=2.0)
models = Models({name: name for name in shipped_autoencoders()}, "cpu", torch.float32)
clips = partial(generate_panel, "world-t2v", "cpu", torch.float32)
serve(partial(build, models, limits, clips), limits, Address(host="0.0.0.0"), print)
