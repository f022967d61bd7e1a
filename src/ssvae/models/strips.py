"""One clip over several processes, exactly: each holds a strip of every frame, and what a layer
sees beyond its strip comes from the neighbours.

Unlike tiles, strips are neither blended nor do they differ from the whole: a 3x3x3 convolution asks
for one row above and one below, attention for the keys and values of all strips.

Shape legend: B batch, C channels, T frames, H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


class Strips:
    """The processes that share clips, and how many bytes this one has sent to others.

    Args:
        group: a process group of ``torch.distributed``; the group of all where None.
    """

    def __init__(self, group: Any = None):
        if not dist.is_initialized():
            raise ValueError(
                "a clip is shared among processes that know of each other: start them by torchrun "
                "and call torch.distributed.init_process_group before"
            )
        self.group: Any = group if group is not None else dist.group.WORLD
        self.rank, self.count = dist.get_rank(self.group), dist.get_world_size(self.group)
        if self.rank < 0:
            raise ValueError("this process is not in the group that is to share clips")
        self.sent = 0

    def of(self, rows: int) -> "Strip":
        """How frames of so many rows of latents are shared."""
        if torch.is_grad_enabled():
            raise ValueError(
                "a clip that processes share has no gradients: call under torch.no_grad(), or "
                "train on a clip for each process"
            )
        if rows < self.count:
            raise ValueError(
                f"each process takes at least one row of latents, got {rows} rows for {self.count} "
                f"processes: take {rows} or fewer"
            )
        each, more = divmod(rows, self.count)
        return Strip(self, tuple(each + (i < more) for i in range(self.count)))

    def tallest(self, rows: int) -> int:
        """Rows of the largest strip, of frames with so many."""
        return -(-rows // self.count)


@dataclass(frozen=True)
class Strip:
    """What this process holds of frames whose rows are shared as ``rows`` says, from the top."""

    strips: Strips
    rows: tuple[int, ...]

    def own(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """This process's strip of whole frames."""
        scale = x_BCTHW.shape[3] // sum(self.rows)
        above = sum(self.rows[: self.strips.rank])
        return x_BCTHW.narrow(3, above * scale, self.rows[self.strips.rank] * scale)

    def tallest(self, own: int) -> int:
        """Rows of the largest strip, where this one has ``own`` of them: the same for all."""
        return own // self.rows[self.strips.rank] * max(self.rows)

    @torch.compiler.disable()
    def borders(
        self, x_BCTHW: torch.Tensor, above: int, below: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (B, C, T, above, W) and (B, C, T, below, W) around a strip; zeros beyond the
        frame.
        """
        B, C, T, H, W = x_BCTHW.shape
        top, bottom = (x_BCTHW.new_zeros(B, C, T, rows, W) for rows in (above, below))
        upper = self.strips.rank - 1 if self.strips.rank > 0 else None
        lower = self.strips.rank + 1 if self.strips.rank + 1 < self.strips.count else None
        self._exchange(
            sent=((upper, x_BCTHW[..., :below, :]), (lower, x_BCTHW[..., H - above :, :])),
            received=((upper, top), (lower, bottom)),
        )
        return top, bottom

    @torch.compiler.disable()
    def gather(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """The strips of all processes, joined along an axis that counts rows, or their
        positions.
        """
        own = self.rows[self.strips.rank]
        sizes = [x.shape[axis] // own * rows for rows in self.rows]
        mine = x.new_zeros([max(sizes) if i == axis else n for i, n in enumerate(x.shape)])
        mine.narrow(axis, 0, x.shape[axis]).copy_(x)
        strips = [torch.empty_like(mine) for _ in sizes]
        dist.all_gather(strips, mine, group=self.strips.group)
        self.strips.sent += (self.strips.count - 1) * mine.nbytes
        return torch.cat([s.narrow(axis, 0, n) for s, n in zip(strips, sizes, strict=True)], axis)

    def _exchange(
        self,
        sent: tuple[tuple[int | None, torch.Tensor], ...],
        received: tuple[tuple[int | None, torch.Tensor], ...],
    ) -> None:
        """Tensors to and from neighbours, all at once; None is no neighbour."""
        group, steps = self.strips.group, []
        for operation, tensors in ((dist.isend, sent), (dist.irecv, received)):
            for neighbour, tensor in tensors:
                if neighbour is None or not tensor.numel():
                    continue
                peer = dist.get_global_rank(group, neighbour)
                steps.append(dist.P2POp(operation, tensor.contiguous(), peer, group))
                if operation is dist.isend:
                    self.strips.sent += tensor.nbytes
        for work in dist.batch_isend_irecv(steps) if steps else ():
            work.wait()
