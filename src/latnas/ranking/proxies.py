"""Zero-cost proxies: what a network at initialisation says about its accuracy once trained.

Formulas: jacov as in Mellor et al., "Neural Architecture Search without Training" (2020, first version); synflow as in
Tanaka et al., "Pruning neural networks without any data" (NeurIPS 2020), summed over parameters as in Abdelfattah et
al., "Zero-Cost Proxies for Lightweight NAS" (ICLR 2021); NASWOT as in Mellor et al., "Neural Architecture Search
without Training" (ICML 2021).

Shapes: B images, D pixels of one image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

EPSILON = 1e-5


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal convolutions and linear layers, batch normalisation at identity: the same for every network."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * math.sqrt(2.0 / fan_in))
                if module.bias is not None:
                    module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def jacov(network: nn.Module, images_BCHW: Tensor) -> float:
    """How differently the network responds around different images: minus sum(log(v + eps) + 1 / (v + eps)).

    v are the eigenvalues of the correlation matrix of the B input gradients of the summed logits, in training mode.
    NaN where the network's outputs overflow.
    """
    network.train()
    inputs = images_BCHW.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs)
    if not gradient.isfinite().all():
        return math.nan
    rows_BD = gradient.flatten(1).double()
    rows_BD = rows_BD - rows_BD.mean(1, keepdim=True)
    rows_BD = rows_BD / rows_BD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    eigenvalues = torch.linalg.eigvalsh(rows_BD @ rows_BD.T).clamp_min(0.0)
    return -float((torch.log(eigenvalues + EPSILON) + 1.0 / (eigenvalues + EPSILON)).sum())


def synflow(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """log sum |theta * dR / dtheta| with all parameters replaced by their absolute values and an input of ones.

    R is the sum of the outputs; batch normalisation is left out; float64, since the products are huge. They still
    overflow, to infinity or NaN, in networks of hundreds of layers.
    """
    parameters = {name: value.detach().double().abs().requires_grad_() for name, value in network.named_parameters()}
    buffers = {name: value.double() for name, value in network.named_buffers() if value.is_floating_point()}
    with _without_norm(network):
        ones = torch.ones(1, *shape, dtype=torch.float64)
        output: Tensor = functional_call(network, {**parameters, **buffers}, (ones,))
    gradients = torch.autograd.grad(output.sum(), list(parameters.values()), allow_unused=True)
    saliency = sum(
        float((parameter.detach() * gradient).abs().sum())
        for parameter, gradient in zip(parameters.values(), gradients, strict=True)
        if gradient is not None
    )
    return math.log(max(saliency, 1e-300))


@contextmanager
def counting_relus(network: nn.Module, images: int) -> Iterator[ReluCounts]:
    """Within this block, whatever is computed of a batch of so many images is counted."""
    counts = ReluCounts(images)
    with _hooked(network, nn.ReLU, counts.add):
        yield counts


class ReluCounts:
    """How many ReLU outputs images switch on or leave off together."""

    def __init__(self, images: int) -> None:
        self._kernel_BB = torch.zeros(images, images, dtype=torch.float64)

    def add(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook."""
        on_BD = (output.detach() > 0).flatten(1).float()
        both_BB = (on_BD @ on_BD.T).double()  # whole numbers, exact below 2**24 outputs
        on_B = both_BB.diagonal()
        self._kernel_BB += 2 * both_BB - on_B[:, None] - on_B[None, :] + on_BD.shape[1]

    @property
    def naswot(self) -> float:
        """How differently the ReLUs fire for different images: log det (K + 1); counted in training mode.

        K[i, j] is the number of ReLU outputs, over all ReLUs, of which images i and j switch on both or neither. The
        unit matrix is added for batches with two equal images; elsewhere it changes nothing that counts. 0 without any
        ReLU.
        """
        unit_BB = torch.eye(len(self._kernel_BB), dtype=torch.float64)
        return float(torch.linalg.slogdet(self._kernel_BB + unit_BB).logabsdet)


@contextmanager
def _without_norm(network: nn.Module) -> Iterator[None]:
    """Within this block batch normalisation hands on what it gets, and the network is in evaluation mode."""
    training = network.training
    with _hooked(network, nn.BatchNorm2d, _its_input):
        try:
            network.eval()
            yield
        finally:
            network.train(training)


@contextmanager
def _hooked(network: nn.Module, kind: type[nn.Module], hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """Within this block, every module of a kind has this forward hook."""
    handles = [module.register_forward_hook(hook) for module in network.modules() if isinstance(module, kind)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _its_input(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]
