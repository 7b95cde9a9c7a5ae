"""The plainest sampling loop there is: the yardstick for what a library adds to each env step."""

import time

import numpy as np


def layers(rng, *sizes):
    return [(rng.normal(0, i**-0.5, (i, o)).astype("f4"), np.zeros(o, "f4")) for i, o in sizes]


def forward(net, x):
    for w, b in net[:-1]:
        x = np.tanh(x @ w + b)
    return x @ net[-1][0] + net[-1][1]


def bare_loop(env, seconds, T=128, seed=0):
    """Env steps per second, autoreset ticks not counted, in whole blocks of T ticks."""
    rng, n, d = np.random.default_rng(seed), env.num_envs, env.single_observation_space.shape[0]
    policy = layers(rng, (d, 64), (64, 64), (64, env.single_action_space.n))
    value = layers(rng, (d, 64), (64, 64), (64, 1))
    (obs, _), row, steps, dead = env.reset(seed=seed), np.arange(n), 0, np.zeros(n, bool)
    observations, actions = np.empty((T, n, d), "f4"), np.empty((T, n), "i8")
    rewards, logps, values = (np.empty((T, n), "f4") for _ in range(3))
    terminateds, truncateds = np.empty((T, n), bool), np.empty((T, n), bool)
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        for t in range(T):
            logits = forward(policy, obs)
            logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            action = (np.exp(logp).cumsum(1)[:, :-1] < rng.random((n, 1))).sum(1)
            observations[t], actions[t], values[t] = obs, action, forward(value, obs)[:, 0]
            logps[t], steps = logp[row, action], steps + n - np.count_nonzero(dead)
            obs, rewards[t], terminateds[t], truncateds[t], _ = env.step(action)
            dead = terminateds[t] | truncateds[t]
    return steps / (time.perf_counter() - start)
