"""Write an operator generator without its network: what remains is what its rays, some 80 fitted numbers, explain.

    ./run python3 benchmarks/rays_alone.py paper2d.safetensors -o rays.safetensors
    ./run submodel validate cases/paper2d.toml --dataset fresh.h5 --generator rays.safetensors

Every accuracy of an operator generator stands beside that of its rays alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from networks import checkpoint


def without_network(source: Path, output: Path) -> int:
    """Write the generator with the network's last layer at zero; the number of the rays' factors.

    Raises:
        ValueError: It is no operator generator, or has no rays.
    """
    generator, metadata = checkpoint.load(source)
    if generator.spec.family != "operator" or generator.spec.rays == "none":
        raise ValueError(f"{source} is no operator generator with rays: nothing would remain of it")
    with torch.no_grad():
        for tensor in (generator.net.last.weight, generator.net.last.bias):
            tensor.zero_()
    checkpoint.save(output, generator, metadata=metadata)
    return sum(factor.numel() for factor in generator.rays.factors)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path, help="an operator generator")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")
    args = parser.parse_args()
    print(f"{args.output}: {without_network(args.generator, args.output)} numbers of the rays remain")


if __name__ == "__main__":
    main()
