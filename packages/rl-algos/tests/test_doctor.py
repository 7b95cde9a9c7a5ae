"""`rl doctor`: each rule on a run made by hand, and all of them on trainings that were real."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rl_algos import PPO, bottleneck, red_flags, resolve_config
from rl_algos.cli import app
from rl_algos.doctor import examine, headline, notes, render
from rl_algos.history import Run
from rl_algos.loggers import describe_run, make_loggers, write_params

HEALTHY = {
    "kl": 0.01,
    "clip_fraction": 0.1,
    "entropy": 0.6,
    "vf_loss": 1.0,
    "vf_explained_var": 0.9,
    "cur_lr": 1e-3,
}


def make_run(returns=None, config=None, count=20, last=None, **stats):
    """A run of `count` results, 100 steps each; a stat is a number or one for each result."""
    returns = [10.0 + 10 * i for i in range(count)] if returns is None else returns
    columns = {**HEALTHY, **stats}
    rows = []
    for i, value in enumerate(returns):
        figures = {k: v[i] if isinstance(v, list) else v for k, v in columns.items()}
        figures = {k: v for k, v in figures.items() if v is not None}
        rows.append(
            {
                "timesteps_total": 100 * (i + 1),
                "episodes_total": i + 1,
                "num_healthy_workers": 0,
                "info": {"learner": {"default_policy": {"learner_stats": figures}}},
                **({} if value is None else {"episode_reward_mean": value}),
            }
        )
    rows[-1].update(last or {})
    return Run(Path("run"), rows, {"algorithm": "PPO", "config": {"env": "E", **(config or {})}})


def flags(run):
    return {rule.find.__name__ for rule in red_flags.RULES if rule.find(run) is not None}


def test_a_healthy_run_has_no_red_flags():
    assert flags(make_run()) == set()
    assert len(examine(make_run()).checks) == len(red_flags.RULES)


def falling(best, last):
    return [best * (i + 1) / 10 for i in range(10)] + [last] * 10


@pytest.mark.parametrize(
    ("run", "found", "evidence"),
    [
        (
            make_run([None] * 20, {"num_envs_per_worker": 4}, last={"episodes_total": 0}),
            "no_episode",
            "no episode has finished in 2,000 steps, 500 of each environment",
        ),
        (make_run([10.0] * 20), "return_stays", "was 10 at first and is 10 after 2,000 steps"),
        (make_run(falling(100, 50)), "return_falls", "was 100 at 1,000 steps and is 50 now"),
        (make_run([20.0, *[9.0] * 19]), "return_falls", "was 20 at 100 steps and is 9 now"),
        (
            make_run([10.0] * 20, entropy=[0.6] * 5 + [0.01] * 15),
            "entropy_collapses",
            "entropy fell below 0.05 nats at 600 steps, while the return was low",
        ),
        (
            make_run([-500.0] * 20, entropy=[1.4 - 1.5 * i for i in range(20)]),
            "entropy_collapses",
            "entropy fell below -2.8 nats at 400 steps",
        ),
        (make_run(kl=[0.01] * 14 + [0.05] * 6), "kl_far", "above 0.04 nats, 4 times .* 30%"),
        (make_run(kl=[199.0] + [0.0] * 19), "kl_far", "by 199 nats, at 100 steps"),
        (
            make_run(clip_fraction=[0.1] * 14 + [0.5] * 6),
            "clips_often",
            "more than 30% of ratios are clipped in 30% of updates",
        ),
        (
            make_run(vf_explained_var=[0.5] * 15 + [-0.2] * 5),
            "values_useless",
            r"explain none of the returns' variance \(-0.20\)",
        ),
        (
            make_run(cur_lr=[1e-3] * 9 + [0.0] * 11),
            "rate_at_zero",
            "lr is 0 since 1,000 steps: 50% of the run taught nothing",
        ),
        (
            make_run(kl=[0.01, math.nan, None] + [0.01] * 17),
            "not_finite",
            "kl is missing or not finite in 2 of 20 results, first at 200 steps",
        ),
        (make_run(config={"num_workers": 2}), "workers_lost", "0 of 2 workers are left"),
    ],
)
def test_each_rule_finds_what_it_is_for(run, found, evidence):
    flag = getattr(red_flags, found)(run)
    assert flag is not None and flag.advice
    assert re.search(evidence, flag.evidence), flag.evidence


@pytest.mark.parametrize(
    ("run", "rule"),
    [
        (make_run([10.0] * 15), "return_stays"),  # too early to say
        (make_run(falling(100, 80)), "return_falls"),  # a dip
        (make_run([20.0] * 19 + [16.0]), "return_falls"),  # noise
        (make_run(entropy=[0.6] * 5 + [0.01] * 15), "entropy_collapses"),  # it knows what to do
        (make_run([10.0] * 20, entropy=[0.6] * 15 + [0.01] * 5), "entropy_collapses"),  # late
        (make_run([10.0] * 20, entropy=[1.4 - 0.1 * i for i in range(20)]), "entropy_collapses"),
        (make_run(kl=[0.01] * 16 + [0.05] * 4), "kl_far"),  # a fifth of the updates
        (make_run(kl=0.05, config={"kl_target": 0.02}), "kl_far"),
        (make_run(clip_fraction=[0.1] * 19 + [0.9]), "clips_often"),
        # Once all returns are the same there is no variance left to explain.
        (make_run(vf_explained_var=-5.0, vf_loss=[9.0] + [1e-4] * 19), "values_useless"),
        (make_run(cur_lr=[1e-3] * 19 + [0.0]), "rate_at_zero"),
        (make_run(config={"num_workers": 2}, last={"num_healthy_workers": 2}), "workers_lost"),
    ],
)
def test_rules_let_harmless_things_pass(run, rule):
    assert getattr(red_flags, rule)(run) is None


def test_policies_are_told_apart():
    run = make_run()
    for row in run.rows:
        bad = {"learner_stats": {**HEALTHY, "kl": 5.0}}
        row["info"]["learner"] = {"good": {"learner_stats": HEALTHY}, "bad": bad}
    assert flags(run) == {"kl_far"}
    assert red_flags.kl_far(run).evidence.startswith("bad: one update moved the policy by 5 nats")


def test_what_cannot_be_judged_is_not_called_ok():
    checks = {c.name: c.why_not for c in examine(make_run(count=4, kl=None)).checks}
    assert checks["updates are small enough (KL)"] == "no result has kl"
    assert checks["return rises"] == "judged from 16 results on, here are 4"
    assert checks["episodes finish"] is None


def timed(config=None, *, workers=0, wall=10.0, steps=1000, **seconds):
    """One result with timers; seconds of the stages as they are reported."""
    row = {
        "timers": {f"{stage}_time_ms": 1000 * s for stage, s in seconds.items()},
        "time_this_iter_s": wall,
        "num_healthy_workers": workers,
        "num_env_steps_sampled_this_iter": steps,
    }
    keys = {"env": "E", "num_workers": workers, "num_envs_per_worker": 8, "train_batch_size": 1024}
    return Run(Path("run"), [row], {"algorithm": "PPO", "config": {**keys, **(config or {})}})


def test_the_time_is_divided():
    run = timed(env=3, inference=1, write=0.5, postprocess=0.3, sample=5, learn=4, update=0.5)
    divided = bottleneck.shares(run.rows)
    assert sum(divided.values()) == pytest.approx(1)
    assert divided == pytest.approx(
        {
            "environment": 0.3,
            "inference": 0.1,
            "bookkeeping": 0.1,  # 0.8 s timed and 0.2 s of sampling that no stage covers
            "transport": 0.0,
            "learning": 0.4,
            "publishing": 0.05,
            "other": 0.05,
        }
    )


def test_stages_of_remote_workers_are_summed_over_them():
    run = timed(workers=2, env=6, inference=2, sample=5, learn=4, update=1)
    divided = bottleneck.shares(run.rows)  # each worker: 3 s + 1 s of the 5 s that were waited
    assert divided["environment"] == pytest.approx(0.3)
    assert divided["inference"] == pytest.approx(0.1)
    assert divided["transport"] == pytest.approx(0.1)


def test_workers_that_sample_meanwhile_count_for_what_is_waited():
    run = timed(workers=2, env=12, inference=4, sample=2, learn=8)
    divided = bottleneck.shares(run.rows)
    assert divided["environment"] == pytest.approx(0.15)
    assert divided["transport"] == 0 and divided["learning"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("run", "bound", "key", "value"),
    [
        (timed(env=8, sample=9, learn=1), "environment", "num_workers", 2),
        (timed(env=16, sample=9, workers=2), "environment", "num_workers", 4),
        (
            timed({"env": "CartPole-v1"}, env=8, sample=9, steps=10**6),
            "environment",
            "vectorize",
            True,
        ),
        (timed(env=8, sample=9, steps=10**6), "environment", None, None),
        (timed(inference=8, sample=9), "inference", "num_envs_per_worker", 32),
        (
            timed({"inference": "framework"}, inference=8, sample=9),
            "inference",
            "num_envs_per_worker",
            32,
        ),
        (
            timed({"num_envs_per_worker": 64}, inference=8, sample=9),
            "inference",
            "num_workers",
            2,
        ),
        (timed(sample=9, wall=9), "bookkeeping", "num_envs_per_worker", 32),
        (timed(sample=9, env=1, workers=2), "transport", "train_batch_size", 2048),
        (timed(sample=9, env=0.01, workers=2), "transport", "num_workers", 0),
        (timed({"sgd_minibatch_size": 256}, learn=9), "learning", "sgd_minibatch_size", 512),
        (
            timed({"sgd_minibatch_size": 1024, "num_sgd_iter": 10}, learn=9),
            "learning",
            "num_sgd_iter",
            5,
        ),
        (timed(learn=9), "learning", "train_batch_size", 2048),
        (
            timed(
                {
                    "sgd_minibatch_size": 1024,
                    "num_cpus_for_driver": 1,
                    "fcnet_hiddens": [1024, 1024],
                },
                learn=9,
            ),
            "learning",
            "num_cpus_for_driver",
            8,
        ),
        (timed({"sgd_minibatch_size": 1024}, learn=9), "learning", "fcnet_hiddens", None),
        (timed(learn=1), "other", None, None),
    ],
)
def test_the_one_key_to_change(run, bound, key, value):
    divided = bottleneck.shares(run.rows)
    assert bottleneck.bound(divided) == bound
    advice = bottleneck.advise(run, divided, cores=8)
    assert (advice.key, advice.value) == (key, value), str(advice)


def test_a_framework_that_was_asked_for_is_the_first_suspect():
    run = timed({"inference": "framework"}, inference=8, sample=9)
    run.rows[-1]["inference"] = {"p": {"engine": "framework", "why": "was asked for"}}
    advice = bottleneck.advise(run, bottleneck.shares(run.rows), cores=8)
    assert str(advice).startswith("To go faster set inference=auto: ")


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("stage", ["env", "inference", "learn"])
def test_what_is_advised_is_a_config_that_is_accepted(env, stage):
    keys = resolve_config("PPO", {"env": env}).config.flat()
    run = timed(keys, **{stage: 9, "sample": 0 if stage == "learn" else 9})
    advice = bottleneck.advise(run, bottleneck.shares(run.rows), cores=16)
    resolve_config("PPO", {"env": env, advice.key: advice.value})


def test_without_settings_no_key_is_named():
    run = Run(Path("run"), timed(learn=9).rows, {})
    assert examine(run).advice.key is None
    assert "defaults are taken for settings" in notes(run)[0]


def test_without_timers_nothing_is_said_of_time():
    diagnosis = examine(make_run())
    assert diagnosis.bound is None and diagnosis.advice is None


def test_the_headline_and_notes():
    run = make_run([10.0, 30.0, 20.0])
    assert headline(run) == "PPO on E: 3 results, 300 steps, return 20.0 (best 30.0)"
    fresh = Run(run.directory, run.rows, run.params, torn=True, running=True)
    assert [note.split(":")[0] for note in notes(fresh)] == [
        "The last line of result.json is cut off and left out.",
        "The run is not over",
    ]


def train(directory, config, iterations):
    """A real run, as loggers write it."""
    with PPO(config) as trainer:
        write_params(directory, describe_run(trainer))
        (logger,) = make_loggers(["json"], directory, {})
        for _ in range(iterations):
            logger.log(trainer.train())
        logger.close()
    return directory


@pytest.mark.torch
def test_a_real_run_that_learns_is_healthy(tmp_path):
    run = train(tmp_path / "run", {"env": "CartPole-v1", "seed": 0}, 12)
    diagnosis = examine(run)
    assert diagnosis.flags == {}
    assert diagnosis.bound == "learner-bound" and sum(diagnosis.shares.values()) > 0.999
    done = CliRunner().invoke(app, ["doctor", str(run)])
    assert done.exit_code == 0 and "No red flags." in done.output
    assert "Time: learner-bound" in done.output and "To go faster set " in done.output


@pytest.mark.torch
def test_a_real_run_that_was_broken_is_not(tmp_path):
    run = train(tmp_path / "run", {"env": "CartPole-v1", "lr": 1.0, "seed": 0}, 12)
    assert {"policy keeps exploring", "updates are small enough (KL)"} <= examine(run).flags.keys()
    done = CliRunner().invoke(app, ["doctor", str(run)])
    assert done.exit_code == 1 and "red flags" in done.output and "lower lr" in done.output


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_no_run_is_one_clear_message(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["doctor", name])
    assert done.exit_code == 2 and done.stderr.startswith("error: ")
    assert "Traceback" not in done.output


def test_the_print_fits_a_narrow_terminal():
    printed = io.StringIO()
    Console(width=60, file=printed).print(render(examine(make_run([20.0, *[9.0] * 19], kl=9.0))))
    assert all(len(line) <= 60 for line in printed.getvalue().splitlines())
