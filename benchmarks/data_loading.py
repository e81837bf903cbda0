"""How fast images are loaded, and what memory that takes: held in memory, and decoded while training.

    python benchmarks/data_loading.py --data train.parquet --json benchmarks/results/data_loading.json

From the Parquet file (the layout of Hugging Face data sets, such as CIFAR-10's) a folder of PNG and JPEG files of four
sizes is made, half of each kind, in a temporary place. Each row is a process of its own: it loads the folder or the
Parquet file, then takes `--batches` batches of 64 images in the order in which a training would. `load_seconds` is the
time until the first batch can be asked for, `images_per_second` that of the batches, in a loop that does nothing else,
and `added_mb` by how much all of it, libraries included, raised the peak of resident memory (RSS). Files become 64x64.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path

import torch
from apart import measured_apart, peak_mb
from pieces import this_cpu
from PIL import Image
from report import as_row, failures_in_one_line, finish, parser, whole

from latnas.data.batches import batch_indices
from latnas.data.lazy import Ahead
from latnas.data.parquet import encoded_parquet
from latnas.data.sources import load_images

SIDES = (32, 48, 64, 96)
JPEG_QUALITY = 90
BATCH = 64
MEMORY_FOR = {"held": None, "decoded while training": 0}


def make_folder(source: Path, count: int, folder: Path) -> None:
    """`count` images of a Parquet file, as PNG and JPEG in turn, of each of SIDES in turn."""
    encoded = encoded_parquet({"train": [source]})
    for row in range(min(count, len(encoded.labels))):
        name = encoded.classes[encoded.labels[row]] if encoded.classes else str(int(encoded.labels[row]))
        (folder / name).mkdir(exist_ok=True)
        side = SIDES[row // 2 % len(SIDES)]
        with Image.open(io.BytesIO(encoded.open(row).read())) as image:
            scaled = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        if row % 2:
            scaled.save(folder / name / f"{row}.jpg", quality=JPEG_QUALITY)
        else:
            scaled.save(folder / name / f"{row}.png")


def measure(spec: str, available_bytes: int | None, batches: int, seed: int) -> dict[str, float]:
    """Loads and takes batches in this process."""
    torch.set_num_threads(1)  # as trainings do
    before = peak_mb()
    began = time.perf_counter()
    data = load_images(spec, available_bytes=available_bytes)
    loaded = time.perf_counter()
    pool = torch.arange(len(data.train))
    indices = [batch_indices(pool, BATCH, seed, step) for step in range(batches + 1)]  # one is begun ahead

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return data.train.batch(indices[step])

    first = time.perf_counter()
    take = batch if isinstance(data.train.images, torch.Tensor) else Ahead(batch)
    for step in range(batches):
        take(step)
    finished = time.perf_counter()
    return {
        "images": len(data.train) + len(data.test),
        "side": data.size,
        "load_seconds": loaded - began,
        "images_per_second": batches * BATCH / (finished - first),
        "added_mb": peak_mb() - before,
    }


@failures_in_one_line("data_loading")
def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", required=True, metavar="FILE.parquet")
    arguments.add_argument("--count", type=whole(1), default=2000, help="image files to make (default 2000)")
    arguments.add_argument("--batches", type=whole(1), default=200, help="batches of 64 images to take (default 200)")
    arguments.add_argument("--way", choices=MEMORY_FOR, help="measure --data in this process and print JSON")
    given = arguments.parse_args()
    if given.way:
        print(json.dumps(measure(given.data, MEMORY_FOR[given.way], given.batches, given.seed)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(given.data), given.count, Path(folder))
        for source, spec in (("folder of PNG and JPEG", f"{folder}/@64"), ("Parquet", given.data)):
            for way in MEMORY_FOR:
                words = ("--data", spec, "--way", way, "--batches", str(given.batches), "--seed", str(given.seed))
                rows.append(as_row(source=source, way=way, **measured_apart(__file__, *words)))
    finish("data_loading", rows, [], this_cpu(), given.json)


if __name__ == "__main__":
    main()
