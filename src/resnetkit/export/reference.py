"""What a package keeps of its data: golden images for parity, statistics to watch drift by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.data.balance import class_counts
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.sources import Split
from resnetkit.data.transforms import decode_split


def golden_images(split: Split, contract: InputContract, count: int = 8) -> Tensor:
    """A few images of `split`, spread evenly, as the network sees them: uint8 [n,C,H,W]."""
    chosen = np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64))
    return torch.from_numpy(contract_images(split, chosen, contract))


def reference_statistics(
    model: nn.Module, split: Split, contract: InputContract, count: int = 512
) -> dict[str, Tensor]:
    """What monitoring will compare with: class shares, channel and feature means and deviations."""
    chosen = np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64))
    images = torch.from_numpy(contract_images(split, chosen, contract))
    features = []
    with torch.inference_mode():
        device = next(model.parameters()).device
        for part in images.split(64):
            inputs = normalise(part.to(device), contract)
            features.append(model.forward_until("head", inputs).cpu())  # pyright: ignore
    pooled = torch.cat(features)
    channels = images.float().mean(dim=(2, 3)) * contract.scale
    shares = class_counts(split.labels, contract.num_classes) / len(split)
    return {
        "class_share": torch.from_numpy(shares).float(),
        "feature_mean": pooled.mean(dim=0),
        "feature_std": pooled.std(dim=0, unbiased=False),
        "channel_mean": channels.mean(dim=0),
        "channel_std": channels.std(dim=0, unbiased=False),
    }


def contract_images(split: Split, rows: np.ndarray, contract: InputContract) -> np.ndarray:
    """The images at `rows` as the network sees them: uint8 [n,C,H,W]."""
    if split.images is not None:
        return split.images[rows]
    images, _ = decode_split(split, contract, indices=rows)
    return images
