from __future__ import annotations

from pathlib import Path

import pytest

from tools.footprint import (
    BEGIN,
    END,
    Footprint,
    limit_problems,
    published,
    readme_problems,
    replace_table,
)

SMALL = Footprint(own_megabytes=0.2, megabytes=1.9, times_numpy=1.1)


def test_the_table_written_is_the_table_read(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_table(readme, {"rl-sample": SMALL, "rl-policy": SMALL})
    text = readme.read_text()
    assert published(text) == {"rl-sample": SMALL, "rl-policy": SMALL}
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(ValueError, match=r"README.md has no lines .* to write between"):
        replace_table(readme, {})


def test_limits() -> None:
    assert limit_problems("rl-sample", SMALL) == []
    problems = " ".join(limit_problems("rl-sample", Footprint(0.2, 3.0, 1.31)))
    assert "limit 3.0 MB" in problems
    assert "limit 1.3 ×" in problems
    assert limit_problems("rl-workers", Footprint(0.2, 300.0, 9.0)) == []


@pytest.mark.parametrize(
    ("measured", "problem"),
    [
        (Footprint(0.4, 1.9, 1.1), "itself 0.4 MB, README.md says 0.2 MB"),
        (Footprint(0.2, 2.2, 1.1), "installs beyond NumPy 2.2 MB"),
        (Footprint(0.2, 1.9, 1.7), "import is 1.7 ×"),
        (Footprint(0.2, 1.9, 0.7), "import is 0.7 ×"),
    ],
)
def test_a_row_that_no_longer_holds(measured: Footprint, problem: str) -> None:
    assert readme_problems("rl-sample", SMALL, SMALL) == []
    (found,) = readme_problems("rl-sample", measured, SMALL)
    assert problem in found


def test_small_differences_are_no_change() -> None:
    lazy = Footprint(0.2, 1.9, 0.05)
    assert readme_problems("rl-algos", Footprint(0.2, 1.9, 0.09), lazy) == []


def test_a_row_that_is_missing() -> None:
    (found,) = readme_problems("rl-sample", SMALL, None)
    assert "no row" in found


def test_measured_numbers_are_rounded_as_they_are_shown() -> None:
    seen = {
        "own_bytes": 204_999,
        "bytes": 1_949_999,
        "import_calls": 110,
        "numpy_import_calls": 100,
    }
    assert Footprint.of(seen) == Footprint(0.2, 1.9, 1.1)
