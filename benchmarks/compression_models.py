"""The networks that the compression benchmarks compress, built from the descriptions in the papers.

ISTA-Net+ ([B] section V.A and figure 2; Zhang & Ghanem, "ISTA-Net", CVPR 2018, section 4) and the residual networks
of [B] section V.B and table III. No convolution has a bias, so that their weights are the ones that [B] counts:
2.961 m (N = 5), 4.145 m (N = 7), 4.82 m (ResNet-8), 11.164 m (ResNet-18, CIFAR form), 21.78 m (ResNet-34).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 33


class ISTABlock(nn.Module):
    """One phase's convolutions: D = conv1, H = conv2 and conv3, H~ = conv4 and conv5, G = conv6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv4 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv5 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv6 = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        for weight in self.parameters():
            nn.init.xavier_normal_(weight)

    def forward(self, r: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        """The next image r + G(H~(soft(H(D(r))))), and H~(H(D(r))) - D(r), which training drives to zero."""
        features = self.conv1(r)
        code = self.conv3(functional.relu(self.conv2(features)))
        soft = torch.sign(code) * functional.relu(code.abs() - threshold)
        x = r + self.conv6(self._back(soft))
        return x, self._back(code) - features

    def _back(self, code: Tensor) -> Tensor:
        return self.conv5(functional.relu(self.conv4(code)))


class ISTANetPlus(nn.Module):
    """Compressive sensing of 33 x 33 images by N unrolled steps of shrinkage.

    Phase n takes a gradient step r = x - lambda_n Phi^T (Phi x - y) and lets its block correct r. Steps lambda_n and
    thresholds theta_n are parameters of the phases, apart from the convolutions.

    Args:
        blocks: N, the number of phases.
        channels: depth of the convolutions.
        cs_ratio: measurements over pixels.
        share: all phases use one block's convolutions (the W_m of [B]); steps and thresholds stay each phase's.
        seed: of the measurement matrix, Gaussian with orthonormal rows.
    """

    phi: Tensor
    initial: Tensor

    def __init__(
        self, blocks: int = 5, channels: int = 128, cs_ratio: float = 0.25, *, share: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        if blocks < 1 or not 0 < cs_ratio <= 1:
            raise ValueError(f"blocks are counted from 1 and 0 < cs_ratio <= 1, got {blocks} and {cs_ratio}")
        rows = round(cs_ratio * SIDE**2)
        gaussian = torch.randn(SIDE**2, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        phi = torch.linalg.qr(gaussian)[0].T.contiguous().float()
        self.register_buffer("phi", phi)
        self.register_buffer("initial", phi.T.contiguous())
        self.blocks = nn.ModuleList(ISTABlock(channels) for _ in range(1 if share else blocks))
        self.steps = nn.Parameter(torch.full((blocks,), 0.5))
        self.thresholds = nn.Parameter(torch.full((blocks,), 0.01))

    def measure(self, images: Tensor) -> Tensor:
        """y = Phi x: (batch, 1, 33, 33) to (batch, measurements)."""
        return images.flatten(1) @ self.phi.T

    def fit_initialisation(self, images: Tensor) -> None:
        """Least squares from measurements to (batch, 1, 33, 33) training images: X Y^T (Y Y^T)^+."""
        pixels = images.flatten(1).double()
        measured = pixels @ self.phi.double().T
        solution = torch.linalg.pinv(measured.T @ measured, hermitian=True) @ (measured.T @ pixels)
        self.initial.copy_(solution.T)

    def forward(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (batch, 1, 33, 33) of measurements (batch, m), and each phase's symmetry residual."""
        x = y @ self.initial.T
        residuals = []
        for n in range(len(self.steps)):
            r = x - self.steps[n] * ((x @ self.phi.T - y) @ self.phi)
            block = self.blocks[n % len(self.blocks)]
            image, residual = block(r.view(-1, 1, SIDE, SIDE), self.thresholds[n])
            x = image.flatten(1)
            residuals.append(residual)
        return x.view(-1, 1, SIDE, SIDE), residuals


class ResidualBlock(nn.Module):
    """Convolutions 3 x 3 called conv1, conv2..., each normalised, and a shortcut, 1 x 1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        for number in range(1, depth + 1):
            first = number == 1
            conv = nn.Conv2d(inputs if first else outputs, outputs, 3, stride if first else 1, padding=1, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        self.bn_shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.bn_shortcut = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, rows, columns) to (batch, outputs, rows / stride, columns / stride)."""
        y = x
        for number in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            if number < self.depth:
                y = functional.relu(y)
        return functional.relu(y + self.bn_shortcut(self.shortcut(x)))


class ResNet(nn.Module):
    """Sub-networks conv1, conv2_x .. conv5_x, mean over the image, fc ([B] table III).

    Args:
        blocks: residual blocks of conv2_x .. conv5_x; 0 leaves a sub-network out.
        depth: convolutions in a residual block.
        classes: of the output.
        in_channels: of the image.
        small: the CIFAR form: conv1 3 x 3 with stride 1 and no pooling, instead of 7 x 7 with stride 2 and pooling.
    """

    def __init__(
        self, blocks: Sequence[int], *, depth: int = 2, classes: int = 10, in_channels: int = 3, small: bool = True
    ) -> None:
        super().__init__()
        size, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, 64, size, stride, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        self.stages = []
        inputs = 64
        for number, count in enumerate(blocks):
            outputs = 64 * 2**number
            if count:
                strides = [1 if number == 0 else 2] + [1] * (count - 1)
                depths = [inputs] + [outputs] * count
                stage = [ResidualBlock(a, outputs, s, depth) for a, s in zip(depths, strides, strict=False)]
                self.stages.append(f"conv{number + 2}_x")
                self.add_module(self.stages[-1], nn.Sequential(*stage))
                inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, classes) of images (batch, in_channels, rows, columns)."""
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(x.mean(dim=(2, 3)))


def resnet8(classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-18 without conv2_x and without the second layer of each residual block ([B] section V.B.2)."""
    return ResNet((0, 2, 2, 2), depth=1, classes=classes, in_channels=in_channels)


def resnet18(classes: int = 10, in_channels: int = 3, *, small: bool = True) -> ResNet:
    """ResNet-18, by default in the CIFAR form of [B] section V.B.1."""
    return ResNet((2, 2, 2, 2), classes=classes, in_channels=in_channels, small=small)


def resnet34(classes: int = 1000, in_channels: int = 3, *, small: bool = False) -> ResNet:
    """ResNet-34, by default in the form of [B] table III for ImageNet."""
    return ResNet((3, 4, 6, 3), classes=classes, in_channels=in_channels, small=small)


def num_weights(model: nn.Module) -> int:
    """Weights of convolutions, and weights and biases of linear layers: what [B] counts as P_o."""
    kinds = (nn.Conv2d, nn.Linear)
    return sum(p.numel() for m in model.modules() if isinstance(m, kinds) for p in m.parameters(recurse=False))
