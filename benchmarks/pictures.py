"""Grey pictures that ship inside scikit-image and scikit-learn, cut into the blocks of compressive sensing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
import sklearn
import torch
from compression_models import SIDE
from skimage.color import rgb2gray
from skimage.io import imread
from torch import Tensor
from torch.nn import functional


def picture(name: str) -> Tensor:
    """A picture in grey levels of 0 to 1, (rows, columns); large ones by means of 2 x 2 pixels.

    Raises:
        FileNotFoundError: the installed packages do not ship it.
    """
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    paths = [folder / name for folder in folders if (folder / name).exists()]
    if not paths:
        raise FileNotFoundError(f"neither scikit-image nor scikit-learn ships {name} here; install their wheels")
    levels = imread(paths[0])
    grey = rgb2gray(levels[..., :3]) if levels.ndim == 3 else levels / 255.0
    image = torch.tensor(np.asarray(grey), dtype=torch.float32)
    return functional.avg_pool2d(image[None], 2)[0] if min(image.shape) >= 400 else image


def blocks(image: Tensor) -> Tensor:
    """All whole 33 x 33 blocks about a picture's centre, (number, 1, 33, 33)."""
    sides = [length // SIDE * SIDE for length in image.shape]
    top, left = ((length - side) // 2 for length, side in zip(image.shape, sides, strict=True))
    inner = image[top : top + sides[0], left : left + sides[1]]
    return inner.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).reshape(-1, 1, SIDE, SIDE)


def patches(images: list[Tensor], number: int, generator: torch.Generator) -> Tensor:
    """Random 33 x 33 patches of random pictures, mirrored and turned at random."""
    found = []
    for _ in range(number):
        image = images[int(torch.randint(len(images), (), generator=generator))]
        top, left = (int(torch.randint(length - SIDE + 1, (), generator=generator)) for length in image.shape)
        patch = image[top : top + SIDE, left : left + SIDE]
        turn = int(torch.randint(8, (), generator=generator))
        patch = torch.rot90(patch, turn % 4)
        found.append(patch.flip(0) if turn >= 4 else patch)
    return torch.stack(found)[:, None]


def decibels(found: Tensor, wanted: Tensor) -> float:
    """PSNR of pictures with levels of 0 to 1."""
    return -10.0 * float(torch.log10((found.clamp(0, 1) - wanted).square().mean()))
