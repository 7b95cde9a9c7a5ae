"""Signs that a training goes wrong: a table of rules over its results, each a pure function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import NamedTuple

from rl_algos.history import Run, number

ENOUGH = 8
"""Results below which no trend is judged."""
OFTEN = 0.25
"""A share of updates that is no longer an accident."""
KL_TARGET, KL_FAR = 0.01, 4.0
"""KL per update, in nats, where the config has no `kl_target`; how many times it is too far."""
KL_LEAP = 1.0
"""KL of one update, in nats, that makes another policy of it."""
CLIPPED = 0.3
"""Share of clipped ratios above which most passes over a batch teach nothing more."""
COLLAPSED = 0.05
"""Entropy of discrete actions, in nats, at which 99 % of them are the same."""
NARROWED = 3.0
"""Times its first value by which a Gaussian's entropy fell; in 1 dimension a deviation of 0.01."""
GAINED, LOST = 0.25, 0.25
"""A gain worth the name, as part of the first return; the part of it that may be lost again."""
RISEN = 0.05
"""Least rise of the return, as part of the first one, in a run that learns."""
RIGHT = 1e-3
"""Value loss, as part of its largest, at which values are right and targets merely constant."""
STOPPED = 0.05
"""Share of the steps that may be trained at a learning rate of 0."""


class Flag(NamedTuple):
    """What a rule found: the evidence, and what to do about it."""

    evidence: str
    advice: str


class Rule(NamedTuple):
    """A sign, and the function that looks for it."""

    name: str
    find: Callable[[Run], Flag | None]
    stat: str | None = None
    """The learner's figure that it reads: where no result has it, there is nothing to judge."""
    least: int = 1
    """Results below which it says nothing."""


def no_episode(run: Run) -> Flag | None:
    """No episode has finished, so that there is no return to see or to learn from."""
    last = run.rows[-1]
    if last.get("episodes_total", 1) > 0:
        return None
    steps = int(last.get("timesteps_total", 0))
    envs = max(1, run.config.get("num_workers", 0)) * run.config.get("num_envs_per_worker", 1)
    return Flag(
        f"no episode has finished in {steps:,} steps, {steps // envs:,} of each environment",
        "end episodes: give the environment a time limit (gymnasium's max_episode_steps), or see "
        "whether it ever returns terminated or truncated",
    )


def return_stays(run: Run) -> Flag | None:
    """The return is no higher than it was at the start."""
    known = returns(run)
    if len(known) < 2 * ENOUGH:
        return None
    first = known[0][1]
    late = median(value for _, value in known[-len(known) // 4 :])
    if late > first + RISEN * abs(first):
        return None
    return Flag(
        f"the return was {first:,.4g} at first and is {late:,.4g} after {known[-1][0]:,} steps",
        "see whether the reward depends on the actions; then try lr, up or down by 3 times",
    )


def return_falls(run: Run) -> Flag | None:
    """The return has lost a good part of what it was at its best, or had at the start."""
    known = returns(run)
    if len(known) < ENOUGH:
        return None
    first, last = known[0][1], known[-1][1]
    step, best = max(known, key=lambda pair: pair[1])
    gained = best - first > GAINED * abs(first)
    lost = best - last > LOST * (best - first) if gained else first - last > GAINED * abs(first)
    if not lost:
        return None
    return Flag(
        f"the return was {best:,.4g} at {step:,} steps and is {last:,.4g} now",
        "lower lr, or let it end at 0 (lr_schedule); the best checkpoint is kept by score_by",
    )


def entropy_collapses(run: Run) -> Flag | None:
    """Hardly anything new is tried, since early on, and the return has not risen."""
    known = returns(run)
    if known and known[-1][1] > known[0][1] + GAINED * abs(known[0][1]):
        return None
    for who, points in figures(run, "entropy"):
        first = points[0][1]
        gaussian = min(value for _, value in points) < 0  # discrete entropies are never negative
        least = first - NARROWED * max(first, 1.0) if gaussian else COLLAPSED
        early = [step for step, value in points[: len(points) // 2] if value < least]
        if len(points) >= ENOUGH and early and points[-1][1] < least:
            return Flag(
                f"{who}entropy fell below {least:.2g} nats at {early[0]:,} steps, while the "
                "return was low",
                "lower lr; if it is low already, raise entropy_coeff (0.01 is usual)",
            )
    return None


def kl_far(run: Run) -> Flag | None:
    """Updates move the policy so far that the batch no longer tells what is good."""
    target = run.config.get("kl_target") or KL_TARGET
    for who, points in figures(run, "kl"):
        step, most = max(points, key=lambda point: point[1])
        share = sum(value > KL_FAR * target for _, value in points) / len(points)
        if most > KL_LEAP:
            evidence = f"{who}one update moved the policy by {most:,.3g} nats, at {step:,} steps"
        elif share > OFTEN and len(points) >= ENOUGH:
            evidence = (
                f"{who}KL is above {KL_FAR * target:.2g} nats, {KL_FAR:.0f} times the target, in "
                f"{share:.0%} of updates"
            )
        else:
            continue
        return Flag(evidence, "lower lr by 3 times; or fewer passes (num_sgd_iter)")
    return None


def clips_often(run: Run) -> Flag | None:
    """Most of a batch's later passes are clipped away: they cost time and teach nothing."""
    for who, points in figures(run, "clip_fraction"):
        share = sum(value > CLIPPED for _, value in points) / len(points)
        if share > OFTEN and len(points) >= ENOUGH:
            return Flag(
                f"{who}more than {CLIPPED:.0%} of ratios are clipped in {share:.0%} of updates",
                "lower lr by 3 times; or fewer passes (num_sgd_iter)",
            )
    return None


def values_useless(run: Run) -> Flag | None:
    """The value net foresees returns no better than a constant would, late in training."""
    losses = dict(figures(run, "vf_loss"))
    for who, points in figures(run, "vf_explained_var"):
        late = median(value for _, value in points[-max(1, len(points) // 4) :])
        loss = [value for _, value in losses.get(who, [])]
        right = bool(loss) and median(loss[-max(1, len(loss) // 4) :]) < RIGHT * max(loss)
        if len(points) >= ENOUGH and late <= 0 and not right:
            return Flag(
                f"{who}values explain none of the returns' variance ({late:.2f}) in the last "
                "quarter of the run",
                "set observation_filter=MeanStdFilter; scale rewards so that returns are of the "
                "order of 1 to 100",
            )
    return None


def rate_at_zero(run: Run) -> Flag | None:
    """The learning rate's schedule ended before the training did."""
    steps = run.rows[-1].get("timesteps_total", 0)
    for who, points in figures(run, "cur_lr"):
        ended = next((step for step, value in points if value <= 0), math.inf)
        if steps - ended > STOPPED * steps:
            return Flag(
                f"{who}lr is 0 since {ended:,} steps: {1 - ended / steps:.0%} of the run taught "
                "nothing",
                f"let lr_schedule end at the last step ({steps:,}), or stop at {ended:,}",
            )
    return None


def not_finite(run: Run) -> Flag | None:
    """Figures that were NaN or infinite: results leave them out."""
    for who, rows in learner_stats(run):
        names = {name for _, stats in rows for name in stats}
        for name in sorted(names):
            bad = [step for step, stats in rows if not math.isfinite(number(stats.get(name)))]
            if bad:
                return Flag(
                    f"{who}{name} is missing or not finite in {len(bad)} of {len(rows)} results, "
                    f"first at {bad[0]:,} steps",
                    "lower lr and set grad_clip=0.5; look for huge rewards or observations",
                )
    return None


def workers_lost(run: Run) -> Flag | None:
    """Remote workers have died, so that fewer sample than were asked for."""
    asked, alive = run.config.get("num_workers", 0), run.rows[-1].get("num_healthy_workers", 0)
    if alive >= asked:
        return None
    return Flag(
        f"{alive} of {asked} workers are left",
        "see why they died: `ray logs`, often memory; fewer num_envs_per_worker need less",
    )


RULES = (
    Rule("episodes finish", no_episode),
    Rule("return rises", return_stays, least=2 * ENOUGH),
    Rule("return stays near its best", return_falls, least=ENOUGH),
    Rule("policy keeps exploring", entropy_collapses, "entropy", ENOUGH),
    Rule("updates are small enough (KL)", kl_far, "kl"),
    Rule("few ratios are clipped", clips_often, "clip_fraction", ENOUGH),
    Rule("values foresee returns", values_useless, "vf_explained_var", ENOUGH),
    Rule("learning rate outlasts the run", rate_at_zero, "cur_lr"),
    Rule("all figures are finite", not_finite),
    Rule("all workers are alive", workers_lost),
)
"""What a healthy run does, each with the function that finds that it does not."""


def returns(run: Run) -> list[tuple[int, float]]:
    """(environment steps, mean return) of each result that has one."""
    found = [
        (int(row.get("timesteps_total", 0)), number(row.get("episode_reward_mean")))
        for row in run.rows
    ]
    return [(step, value) for step, value in found if math.isfinite(value)]


def learner_stats(run: Run) -> Iterator[tuple[str, list[tuple[int, Mapping[str, float]]]]]:
    """(how to name it, [(environment steps, its figures), …]) of each policy that learns."""
    found: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for row in run.rows:
        for policy_id, learned in row.get("info", {}).get("learner", {}).items():
            stats = learned.get("learner_stats", {}) if isinstance(learned, Mapping) else {}
            step = int(row.get("timesteps_total", 0))
            found.setdefault(policy_id, []).append((step, stats))
    for policy_id, rows in found.items():
        yield "" if len(found) == 1 else f"{policy_id}: ", rows


def figures(run: Run, name: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """(how to name the policy, [(environment steps, value), …]) where it is a finite number."""
    for who, rows in learner_stats(run):
        pairs = [(step, number(stats.get(name))) for step, stats in rows]
        points = [(step, value) for step, value in pairs if math.isfinite(value)]
        if points:
            yield who, points
