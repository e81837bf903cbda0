"""Zero-cost proxies: what a network at initialisation says about its accuracy once trained.

Formulas: jacov as in Mellor et al., "Neural Architecture Search without Training" (2020, first version); synflow as in
Tanaka et al., "Pruning neural networks without any data" (NeurIPS 2020), summed over parameters as in Abdelfattah et
al., "Zero-Cost Proxies for Lightweight NAS" (ICLR 2021).

Shapes: B images, D pixels of one image.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

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
    linear = _without_norm(network).double().eval()
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    output = linear(torch.ones(1, *shape, dtype=torch.float64)).sum()
    parameters = list(linear.parameters())
    gradients = torch.autograd.grad(output, parameters, allow_unused=True)
    saliency = sum(
        float((parameter.detach() * gradient).abs().sum())
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    )
    return math.log(max(saliency, 1e-300))


def _without_norm(network: nn.Module) -> nn.Module:
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return plain
