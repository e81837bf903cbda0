"""Makes the two data sets that latnas ships, byte for byte as they are committed (with zlib 1.2 or 1.3).

    python benchmarks/make_embedded_data.py --fashion fashion_mnist.npz --digits digits.csv.gz

--fashion: Fashion-MNIST (github.com/zalandoresearch/fashion-mnist) as one npz file: x_train [60000, 28, 28]
    or [60000, 28, 28, 1], y_train, x_test, y_test. fashion-mini.npz keeps 400 training and 150 test images of
    each class, drawn with seed 0 from the training and the test set.
--digits: the 1,797 handwritten digits of 8x8 pixels from the UCI repository (optdigits.tes; also
    scikit-learn's digits.csv.gz): 64 pixels in 0..16 and the digit a line. digits.npz keeps all: 36 of each
    digit, drawn with seed 0, are the test set.

Images keep the order of their source. What could be gained in size, for the 5,500 images of fashion-mini: 1 %
by deflate at level 9, 1 % by sorting by class (and the first images would be of one class), 15 % by LZMA,
which not every Python can read.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SEED = 0
FASHION_TRAIN, FASHION_TEST, DIGITS_TEST = 400, 150, 36
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
EMBEDDED = Path(__file__).parents[1] / "src" / "latnas" / "data" / "embedded"


def balanced(labels: Array, per_class: int, draws: np.random.RandomState) -> Array:
    """The positions of `per_class` random images of each class, ascending."""
    chosen = [draws.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def fashion_mini(source: Path) -> dict[str, Array]:
    draws = np.random.RandomState(SEED)  # its stream is frozen; that of default_rng may change with numpy
    arrays: dict[str, Array] = {}
    with np.load(source, allow_pickle=False) as full:
        for part, per_class in (("train", FASHION_TRAIN), ("test", FASHION_TEST)):
            images, labels = full[f"x_{part}"].reshape(-1, 28, 28), full[f"y_{part}"].astype(np.uint8)
            chosen = balanced(labels, per_class, draws)
            arrays |= {f"x_{part}": images[chosen], f"y_{part}": labels[chosen]}
    return arrays | {"classes": np.array(FASHION_CLASSES)}


def digits(source: Path) -> dict[str, Array]:
    table = np.loadtxt(source, delimiter=",").astype(np.int64)
    images = ((table[:, :64] * 255 + 8) // 16).astype(np.uint8).reshape(-1, 8, 8)
    labels = table[:, 64].astype(np.uint8)
    test = balanced(labels, DIGITS_TEST, np.random.RandomState(SEED))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return {
        "x_train": images[train],
        "y_train": labels[train],
        "x_test": images[test],
        "y_test": labels[test],
        "classes": np.array([str(digit) for digit in range(10)]),
    }


def save(arrays: dict[str, Array], file: Path) -> None:
    np.savez_compressed(file, allow_pickle=False, **arrays)  # dates every member 1980-01-01
    content = file.read_bytes()
    shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
    print(f"{file}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}; {shapes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, metavar="FILE.npz")
    parser.add_argument("--digits", type=Path, metavar="FILE.csv.gz")
    parser.add_argument(
        "--to",
        type=Path,
        default=EMBEDDED,
        metavar="FOLDER",
        help=f"default: {EMBEDDED.name}/ of the package",
    )
    arguments = parser.parse_args()
    if arguments.fashion is None and arguments.digits is None:
        parser.error("name --fashion, --digits, or both")
    arguments.to.mkdir(parents=True, exist_ok=True)
    if arguments.fashion is not None:
        save(fashion_mini(arguments.fashion), arguments.to / "fashion-mini.npz")
    if arguments.digits is not None:
        save(digits(arguments.digits), arguments.to / "digits.npz")


if __name__ == "__main__":
    main()
