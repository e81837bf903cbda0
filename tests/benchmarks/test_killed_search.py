"""What the benchmark of killed searches compares."""

from __future__ import annotations

from pathlib import Path

from killed_search import results, work


def test_every_file_of_a_run_is_compared_once_but_for_its_lock_and_what_was_cut_short(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "nasbench201-1a2b3c"
    (run / "fronts" / "table").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to(run.name)
    lasting = (
        "config.toml",
        "fronts/table/front.json",
        "fronts/table/metrics.jsonl",
        "fronts/table/search.safetensors",
    )
    for name in (*lasting, ".lock", "fronts/table/.front.json.0a1b.part"):
        (run / name).write_text("one line\n")
    assert results(tmp_path) == {f"runs/{run.name}/{name}": b"one line\n" for name in lasting}
    assert work(tmp_path) == 3  # two files that last, and a step
