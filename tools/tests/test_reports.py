from __future__ import annotations

from pathlib import Path

from tools.reports import Counts


def test_errors_count_as_failures(tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3"/></testsuites>'
    )
    assert Counts.read(report) == Counts(passed=4, failed=3, skipped=3)


def test_the_sum_is_a_line_that_test_runners_print() -> None:
    assert str(Counts(1, 0, 0) + Counts(2, 1, 3)) == "3 passed, 1 failed, 3 skipped"
