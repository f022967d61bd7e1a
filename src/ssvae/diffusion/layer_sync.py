"""LayerSync: early blocks are pulled towards what later ones make of the same tokens (arXiv
2510.12581).
"""

import torch
import torch.nn.functional as F
from torch import nn


class LayerSync:
    """The tokens that two blocks give in a forward pass, and how unlike they are.

    It listens to the blocks of ``transformer.blocks`` and adds no parameter.
    """

    def __init__(self, blocks: nn.ModuleList, student: int, teacher: int):
        self._tokens: dict[str, torch.Tensor] = {}
        for name, number in (("student", student), ("teacher", teacher)):
            blocks[number - 1].register_forward_hook(
                lambda module, inputs, output, name=name: self._tokens.update({name: output})
            )

    def loss(self) -> torch.Tensor:
        """One less the cosine of student and teacher, a mean over tokens, of each clip (B,).

        The teacher takes no gradient. It is of the last forward pass, whose tokens are let go.
        """
        student, teacher = self._tokens.pop("student"), self._tokens.pop("teacher")
        return (1 - F.cosine_similarity(student.float(), teacher.detach().float(), dim=-1)).mean(1)
