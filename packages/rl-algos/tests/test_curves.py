"""`rl plot`: the numbers that are drawn, and what is said where nothing can be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rl_algos import curves
from rl_algos.cli import app
from rl_algos.history import Run
from rl_algos.runs import RunError


def make_run(values, steps=None, *, algorithm="PPO", config=None, **rows):
    steps = [100 * (i + 1) for i in range(len(values))] if steps is None else steps
    found = [
        {"timesteps_total": step, "time_total_s": step / 10}
        | ({} if value is None else {"episode_reward_mean": value})
        | {key: column[i] for key, column in rows.items()}
        for i, (step, value) in enumerate(zip(steps, values, strict=True))
    ]
    params = {"algorithm": algorithm, "config": {"env": "CartPole-v1", **(config or {})}}
    return Run(Path("run"), found, params)


def made(*runs, key="episode_reward_mean", x="timesteps_total", smooth=1):
    return curves.make_curves(runs, key, x, smooth)


def test_seeds_are_one_line_with_mean_and_range():
    (curve,) = made(make_run([1, 2, 6], config={"seed": 0}), make_run([3, 4, 6]))
    assert (curve.label, curve.runs) == ("PPO", 2)
    assert curve.band.x.tolist() == [100, 200, 300]
    assert curve.band.mean.tolist() == [2, 3, 6]
    assert curve.band.low.tolist() == [1, 2, 6] and curve.band.high.tolist() == [3, 4, 6]
    assert curve.band.whole.all()


def test_runs_are_interpolated_on_the_union_of_their_steps():
    (curve,) = made(make_run([0, 10], [0, 100]), make_run([4, 8], [50, 150]))
    assert curve.band.x.tolist() == [0, 50, 100, 150]
    assert curve.band.mean.tolist() == [0, (5 + 4) / 2, (10 + 6) / 2, 8]
    assert curve.band.whole.tolist() == [False, True, True, False]


def test_results_without_the_key_are_passed_over():
    (curve,) = made(make_run([None, 2, None, 4]))
    assert curve.band.x.tolist() == [200, 400] and curve.band.mean.tolist() == [2, 4]


def test_smoothing_is_the_mean_of_the_last_values():
    assert curves.moving_mean(np.array([2.0, 4, 6, 8]), 2).tolist() == [2, 3, 5, 7]
    (curve,) = made(make_run([2, 4, 6, 8]), smooth=3)
    assert curve.band.mean.tolist() == [2, 3, 4, 6]
    with pytest.raises(ValueError, match="smooth is a number of results, at least 1: 0"):
        made(make_run([1]), smooth=0)


def test_other_settings_are_other_lines_named_by_what_differs():
    lines = made(
        make_run([1], config={"lr": 0.1, "seed": 0}),
        make_run([2], config={"lr": 0.1, "seed": 1}),
        make_run([3], config={"lr": 0.2, "seed": 0}),
        make_run([4], algorithm="PG", config={"lr": 0.1}),
    )
    assert [(line.label, line.runs) for line in lines] == [
        ("PPO, lr=0.1", 2),
        ("PPO, lr=0.2", 1),
        ("PG", 1),
    ]


def test_what_most_lines_share_goes_without_saying():
    configs = [{"lr": 1, "w": 0}, {"lr": 2, "w": 0}, {"lr": 1, "w": 2}, {"lr": 1, "w": 3}]
    lines = made(*(make_run([1], config=config) for config in configs))
    assert [line.label for line in lines] == ["PPO, w=0", "PPO, w=0, lr=2", "PPO, w=2", "PPO, w=3"]
    assert curves.telling_keys([{"a": 1, "b": 1}, {"a": 1, "b": 2}]) == ["b"]
    assert curves.telling_keys([{"a": 1}]) == []


def test_several_environments_are_named():
    lines = made(make_run([1]), make_run([1], config={"env": "Pendulum-v1"}))
    assert [line.label for line in lines] == ["PPO on CartPole-v1", "PPO on Pendulum-v1"]


def test_evaluations_are_a_line_of_their_own():
    tests = [{"episode_reward_mean": None}, {}, {"episode_reward_mean": 9.0}]
    (curve,) = made(make_run([1, 2, 3], evaluation=tests))
    assert curve.evaluation.x.tolist() == [300] and curve.evaluation.mean.tolist() == [9]
    assert made(make_run([1]))[0].evaluation is None


def drawn(*runs, key="episode_reward_mean", x="timesteps_total"):
    figure = curves.draw(made(*runs, key=key, x=x), key, x)
    return figure, figure.axes[0]


@pytest.mark.extras
def test_the_figure_holds_the_lines_and_bands():
    figure, axes = drawn(make_run([1, 2]), make_run([3, 6]), make_run([5, 5], algorithm="PG"))
    first, second = axes.get_lines()
    assert first.get_xdata().tolist() == [100, 200] and first.get_ydata().tolist() == [2, 4]
    assert second.get_ydata().tolist() == [5, 5]
    (band,) = axes.collections
    heights = {tuple(point) for point in band.get_paths()[0].vertices}
    assert {(100.0, 1.0), (200.0, 2.0), (200.0, 6.0), (100.0, 3.0)} <= heights
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["PPO (2 runs: mean, range)", "PG"]
    assert first.get_color() != second.get_color()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "return")


@pytest.mark.extras
def test_where_runs_are_missing_the_line_is_dotted():
    _, axes = drawn(make_run([1, 1], [0, 100]), make_run([3, 3], [100, 200]))
    whole, rest = axes.get_lines()
    assert np.isfinite(whole.get_ydata()).tolist() == [False, True, False]
    assert rest.get_ydata().tolist() == [1, 2, 3]


@pytest.mark.extras
def test_one_run_needs_no_legend():
    figure, axes = drawn(make_run([1, 2]))
    assert not figure.legends and not axes.collections


@pytest.mark.extras
def test_long_times_are_in_minutes_or_hours():
    _, axes = drawn(make_run([1, 2], [10, 36_000]), x="time_total_s")
    assert axes.get_xlabel() == "training time (minutes)"
    assert axes.get_lines()[0].get_xdata().tolist() == [1 / 60, 60]
    assert curves.time_unit(90.0) == (" (s)", 1.0)
    assert curves.time_unit(20_000.0) == (" (hours)", 3600.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (20_000, "20k"), (1.5e6, "1.5M"), (-0.025, "−0.025"), (-1e3, "−1k")],
)
def test_ticks_are_short(value, text):
    assert curves.short_number(value) == text


@pytest.mark.extras
def test_keys_of_the_learner_are_named_with_their_unit():
    stats = [{"learner": {"default_policy": {"learner_stats": {"kl": v}}}} for v in (0.1, 0.3)]
    _, axes = drawn(make_run([1, 2], info=stats), key="kl")
    assert axes.get_lines()[0].get_ydata().tolist() == [0.1, 0.3]
    assert axes.get_ylabel() == "KL divergence per update (nats)"
    assert curves.axis_name("timers/learn_time_ms") == "learn time ms"


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Two runs below `runs`, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("a", 1), ("b", 2)):
        run = make_run([value, value + 1])
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        (directory / "params.json").write_text(json.dumps(run.params))
        text = "".join(json.dumps(row) + "\n" for row in run.rows)
        (directory / "result.json").write_text(text)
    return tmp_path


@pytest.mark.extras
@pytest.mark.parametrize("name", ["curves.png", "there/curves.svg", "curves.pdf"])
def test_a_picture_is_written_and_nothing_global_changes(on_disk, name):
    import matplotlib

    before = dict(matplotlib.rcParams)
    path = curves.plot("runs", "runs/a", to=name)
    assert path == Path(name) and path.stat().st_size > 1000
    assert dict(matplotlib.rcParams) == before
    done = CliRunner().invoke(app, ["plot", "runs", "--to", name, "--x", "time_total_s"])
    assert done.exit_code == 0 and done.output == f"curves: {name}\n"


@pytest.mark.extras
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "there is no run run; did you mean runs"),
        (["runs", "--key", "episode_reward_man"], "did you mean episode_reward_mean"),
        (["runs", "--to", "curves.xyz"], "curves.xyz cannot be written"),
        (["runs", "--smooth", "0"], "smooth is a number of results"),
    ],
)
def test_bad_input_is_one_clear_message(on_disk, arguments, message):
    done = CliRunner().invoke(app, ["plot", *arguments])
    assert done.exit_code == 2 and message in done.stderr


@pytest.mark.extras
def test_no_run_is_an_error(on_disk):
    with pytest.raises(RunError, match="Give at least one run"):
        curves.plot()


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'rl-algos\[plot\]'"):
        curves.plot("runs")
    with pytest.raises(ImportError, match="matplotlib"):
        curves.draw(made(make_run([1])), "episode_reward_mean", "timesteps_total")
