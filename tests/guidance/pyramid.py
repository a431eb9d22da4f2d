"""A Laplacian pyramid of two levels, written out as matrices."""

import torch
from torch import Tensor

F64 = torch.float64


def pyramid_parts(n: int) -> tuple[Tensor, Tensor]:
    """Halving and doubling of n pixels in a row, written out: a binomial blur, mirrored, and linear interpolation."""

    def blur(n: int) -> Tensor:
        made = torch.zeros(n, n, dtype=F64)
        for i in range(n):
            for k, tap in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
                at = abs(i + k)
                made[i, at if at < n else 2 * n - 2 - at] += tap / 16
        return made

    halve, grow = torch.zeros(n // 2, n, dtype=F64), torch.zeros(n, n // 2, dtype=F64)
    for i in range(n // 2):
        halve[i, 2 * i] = halve[i, 2 * i + 1] = 0.5
        for j, other in ((2 * i, i - 1), (2 * i + 1, i + 1)):
            grow[j, i] += 0.75
            grow[j, min(max(other, 0), n // 2 - 1)] += 0.25
    return halve @ blur(n), blur(n) @ grow
