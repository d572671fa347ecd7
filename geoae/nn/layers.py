"""What stands between layers, and a layer as a matrix."""

import torch
from torch import Tensor, nn

from .words import choose

ACTIVATIONS = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def _after(activation: str, dropout: float) -> list[nn.Module]:
    """What follows a layer: a nonlinearity, and features dropped at random while training."""
    return [choose(ACTIVATIONS, activation, "activation")(), *[nn.Dropout(dropout)] * bool(dropout)]


class TopK(nn.Module):
    """Keep the `k` features largest in absolute value, zero the rest (Makhzani and Frey, 2014).

    The gradient passes through the features that are kept and is zero at the others.
    """

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, z: Tensor, by: Tensor | None = None) -> Tensor:
        """Keep of z (..., feature) what is largest, in `z` itself or in other features."""
        kept = (z if by is None else by).abs().topk(self.k, dim=-1).indices
        return torch.zeros_like(z).scatter(-1, kept, z.gather(-1, kept))

    def extra_repr(self) -> str:  # noqa: D102
        return f"k={self.k}"


@torch.no_grad()
def matrix(layer: nn.Module, length: int | tuple[int, ...]) -> Tensor:
    """Matrix of a linear layer (its bias left out), by sending every unit trace through it.

    Parameters
    ----------
    layer : Module
        Conv1d, ConvTranspose1d, Conv2d, Linear, ..., anything affine that takes ``(1, channels, *length)``.
    length : int or tuple
        Size of one input channel: a number of samples, or (rows, columns) for an image.

    Returns
    -------
    matrix : Tensor, shape (outputs, inputs)

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 2, bias=False)
    >>> _ = conv.weight.data.copy_(torch.tensor([[[1.0, 2.0]]]))
    >>> matrix(conv, 3)
    tensor([[1., 2., 0.],
            [0., 1., 2.]])
    """
    shape = (length,) if isinstance(length, int) else tuple(length)
    if not isinstance(layer, nn.Linear):
        shape = (getattr(layer, "in_channels", 1), *shape)
    size = int(torch.tensor(shape).prod())
    like = next(layer.parameters(), torch.zeros(()))
    units = torch.eye(size, dtype=like.dtype, device=like.device).reshape(size, *shape)
    return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).T
