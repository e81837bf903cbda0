"""Learning from another network's logits beside the labels.

Source: Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latnas.training.trainer import Loss, Recipe, plain_loss

SHARE = 0.9
"""The teacher's share of the loss, at temperature 4: Tian, Krishnan, Isola 2020, "Contrastive representation
distillation", for the method used here."""


def distilled_loss(teacher: nn.Module) -> Loss:
    """`recipe.distill` of the loss is the distance to the teacher's logits for the same images, the rest the plain one.

    The teacher is put into evaluation mode and learns nothing.
    """
    teacher.eval().requires_grad_(False)

    def loss(logits: Any, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        with torch.no_grad():
            taught = teacher(images)
        hard = plain_loss(logits, images, labels, recipe)
        return (1 - recipe.distill) * hard + recipe.distill * soft_loss(logits, taught, recipe.temperature)

    return loss


def soft_loss(logits_NK: Tensor, taught_NK: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence of the network's softened classes from the teacher's, times the temperature squared.

    So its gradients are about as large as those of the cross-entropy, whatever the temperature.
    """
    divergence = functional.kl_div(
        functional.log_softmax(logits_NK / temperature, dim=1),
        functional.log_softmax(taught_NK / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
