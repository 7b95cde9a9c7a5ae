"""One policy's side of sampling: its actor, its slots' rows, their states and their noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rl_sample import SampleBatch, SlotWriter, draw_noise, flatten_nested, noise_keys
from rl_sample.protocols import Acted, Actor, Arrays
from rl_workers.episode_state import pack_infos, unpack_infos
from rl_workers.errors import EnvError, at
from rl_workers.history import History, longer

_MASK = "obs/action_mask"


class SlotStream:
    """Acts for the slots of one policy and writes what they see, do and get.

    A slot is one (sub-environment, agent). `slots=None` means all of them, which is cheaper;
    otherwise an int64 array [L] says which. Of all slots some may sit a step out (`live`).
    """

    def __init__(
        self,
        actor: Actor,
        obs: Arrays,
        action_space: gym.Space[Any],
        rows_per_slot: int,
        *,
        seed: int,
        worker: int,
        explore: bool,
    ) -> None:
        """Take over an actor; `obs` ({name: [S, …]}) is what its slots see first."""
        num_slots = len(next(iter(obs.values())))
        self.actor = actor
        self.obs: Arrays = obs
        self.state = tuple(
            np.zeros((num_slots, *shape), dtype) for shape, dtype in actor.needs.state
        )
        self.t = np.zeros(num_slots, np.int64)
        self.writer = SlotWriter(num_slots, rows_per_slot)
        self.step = 0
        """Lifetime environment steps at the last publication, for exploration schedules."""
        self._explore = explore
        self._history = History(actor, num_slots, action_space)
        self._seed, self._worker = seed, worker
        self._keys = noise_keys(seed, worker, self.writer.env_ids, self.writer.agent_indices)
        # Slots that sit steps out drift apart: the first to finish needs more than its share.
        self._noise_rows = rows_per_slot * 5 // 4
        self._all = np.arange(num_slots)
        self._drawn_at = np.zeros(num_slots, np.int64)
        self._since = np.zeros(num_slots, np.int64)
        self._row: int | None = 0
        """Rows since the last draw, where all slots share them."""
        self._ticks = 0
        """Calls of `observe` since then: no slot has more rows."""
        self._draw_noise()

    @property
    def rows(self) -> np.ndarray:
        """[S] rows that each slot has closed in its life: the counters of its noise."""
        return self._drawn_at + self._since

    def add_slots(self, env_ids: list[int], agent_indices: list[int]) -> None:
        """Append slots for (sub-environment, agent index) pairs that have just appeared."""
        added = len(env_ids)
        self.writer.add_slots(env_ids, agent_indices)
        self.obs = {k: longer(v, added) for k, v in self.obs.items()}
        self.state = tuple(longer(s, added) for s in self.state)
        self.t = longer(self.t, added)
        self._drawn_at, self._since = longer(self._drawn_at, added), longer(self._since, added)
        self._all = np.arange(self.writer.num_slots)
        self._history.add_slots(added)
        self._keys = noise_keys(
            self._seed, self._worker, self.writer.env_ids, self.writer.agent_indices
        )
        self._draw_noise()

    def begin(self, slots: np.ndarray, eps_ids: np.ndarray) -> None:
        """New episodes start in `slots`: step 0, zero state, empty history."""
        self.writer.eps_ids[slots] = eps_ids
        self.t[slots] = 0
        if self.state or self._history.names:
            self._forget(slots)

    def act(self, slots: np.ndarray | None = None) -> Acted:
        """Decide for the slots and open their rows."""
        inputs, state, writer = dict(self.obs), self.state, self.writer
        if self._history.names:
            inputs.update(self._history.inputs())
        if _MASK in inputs:
            inputs["action_mask"] = inputs[_MASK]
        if slots is not None:
            inputs = {name: value[slots] for name, value in inputs.items()}
            state = tuple(s[slots] for s in state)
        row = self._row
        if row is None or row >= self._noise_rows or slots is not None:
            noise = self._noise_of(slots)
        else:
            noise = self._noise[row]
        acted = self.actor.act(inputs, state, noise, explore=self._explore, step=self.step)
        opened: dict[str, np.ndarray] = {**inputs, **acted.columns}
        if isinstance(acted.actions, np.ndarray):
            opened["actions"] = acted.actions
        else:
            opened.update(flatten_nested("actions", acted.actions))
        opened["t"] = self.t if slots is None else self.t[slots]
        if state:
            opened.update({f"state_in_{i}": s for i, s in enumerate(state)})
            self._remember(acted.state, slots)
        writer.put(opened, slots)
        if self._history.names:
            self._history.push(opened, slots)
        return acted

    def observe(
        self,
        rewards: np.ndarray,
        terminateds: np.ndarray,
        truncateds: np.ndarray,
        slots: np.ndarray | None = None,
        *,
        live: np.ndarray | None = None,
        infos: np.ndarray | None = None,
    ) -> None:
        """Close the slots' rows with what came of them; arrays are [L].

        Where `live` [S] bool is False the slot sat this step out, before an episode's first one.
        """
        row = {
            "rewards": rewards.astype(np.float32),
            "terminateds": terminateds,
            "truncateds": truncateds,
        }
        if infos is not None:
            row["infos"] = infos
        self.writer.put(row, slots, close=True, live=live)
        which, went = (slice(None), 1 if live is None else live) if slots is None else (slots, 1)
        self.t[which] += went
        self._since[which] += went
        self._ticks += 1
        if self._row is not None:
            self._row = self._row + 1 if slots is None and live is None else None
        if self._history.names:
            self._history.push(row, slots)
        if live is not None and (self.state or self._history.names):
            self._forget(np.flatnonzero(~live))

    def end(self, slots: np.ndarray, last_obs: Arrays) -> None:
        """The slots' episodes ended with the rows just closed; `last_obs` is {name: [E, …]}."""
        self.writer.end(slots, last_obs, tuple(s[slots] for s in self.state))

    def take(self, *, only_finished: bool, open_rows: bool = False) -> SampleBatch:
        """What was written, as one batch; `only_finished` and `open_rows` as in SlotWriter.take.

        Raises:
            EnvError: an observation or a reward is NaN or infinite.
        """
        batch = self.writer.take(
            self.obs, self.state, only_finished=only_finished, open_rows=open_rows
        )
        self._draw_noise()
        _check_finite(batch, self._worker)
        return batch

    def truncate(self, slots: np.ndarray) -> None:
        """The slots' episodes stop here: their rows that `take` has left end as truncated."""
        last_obs = {name: array[slots] for name, array in self.obs.items()}
        self.writer.truncate(slots, last_obs, tuple(s[slots] for s in self.state))

    def skip(self, rows: np.ndarray) -> None:
        """Count `rows` [S] as already sampled, so that their noise is not drawn again."""
        self._drawn_at, self._since[:] = np.maximum(self.rows, rows), 0
        self._draw_noise()

    def state_dict(self, *, open_rows: bool = False) -> dict[str, Any]:
        """Where the slots are, after `take`: what they see next, their pasts and rows left."""
        writer = self.writer.state_dict(open_rows=open_rows)
        rows = dict(writer["rows"])
        infos, odd = pack_infos(rows.pop("infos", None), self.writer.cursors)
        return {
            "rows": self.rows,
            "t": self.t.copy(),
            "step": self.step,
            "obs": {name: np.array(array) for name, array in self.obs.items()},
            "state": [np.array(state) for state in self.state],
            "history": self._history.state_dict(),
            "writer": {**writer, "rows": rows},
            "infos": infos,
            "odd": odd,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, seed: int) -> dict[int, str]:
        """Go on where `state` was taken, with the noise of that `seed`; nothing is shared.

        Gives the slots whose rows are not what they were, and why.
        """
        writer = state["writer"]
        if state["infos"]:
            infos = unpack_infos(state["infos"])
            writer = {**writer, "rows": {**writer["rows"], "infos": infos}}
        self.writer.load_state_dict(writer)
        self.obs = {name: np.array(array) for name, array in state["obs"].items()}
        self.state = tuple(np.array(array) for array in state["state"])
        self.t, self.step = np.array(state["t"]), int(state["step"])
        self._history.load_state_dict(state["history"])
        self._seed, self._all = seed, np.arange(self.writer.num_slots)
        self._drawn_at = np.array(state["rows"])
        self._since = np.zeros_like(self._drawn_at)
        self._keys = noise_keys(seed, self._worker, self.writer.env_ids, self.writer.agent_indices)
        self._draw_noise()
        return {int(slot): why for slot, why in state["odd"].items()}

    def _forget(self, slots: np.ndarray) -> None:
        for state in self.state:
            state[slots] = 0
        self._history.clear(slots)

    def _remember(self, state: tuple[np.ndarray, ...], slots: np.ndarray | None) -> None:
        if slots is None:
            self.state = tuple(np.array(s) for s in state)
        else:
            for mine, new in zip(self.state, state, strict=True):
                mine[slots] = new

    def _draw_noise(self) -> None:
        """Noise for the next rows of each slot; row `n` of a slot's life has counter `n`."""
        self._drawn_at, self._since = self.rows, np.zeros_like(self._since)
        self._row = self._ticks = 0
        spec = self.actor.needs.noise
        drawn = draw_noise(spec, self._keys, self._drawn_at, self._noise_rows)
        self._block = {k: np.ascontiguousarray(np.swapaxes(v, 0, 1)) for k, v in drawn.items()}
        rows = zip(*self._block.values(), strict=True)
        self._noise = [dict(zip(spec, row, strict=True)) for row in rows]
        self._noise = self._noise or [{}] * self._noise_rows

    def _noise_of(self, slots: np.ndarray | None) -> dict[str, np.ndarray]:
        """Noise of slots that are not in step, or whose block is used up."""
        if self._ticks >= self._noise_rows:
            self._draw_noise()
        which = self._all if slots is None else slots
        rows = self._since if slots is None else self._since[slots]
        return {name: block[rows, which] for name, block in self._block.items()}


def _check_finite(batch: SampleBatch, worker: int) -> None:
    """Refuse observations and rewards that hold NaN or inf.

    Raises:
        EnvError: names the column, worker, environment and step of the first such row.
    """
    assert batch.segments is not None
    came = {k: v for k, v in batch.arrays.items() if k == "rewards" or k.startswith("obs")}
    after = {f"{k} (the last one)": v for k, v in batch.segments.last_obs.items()}
    for name, values in [*came.items(), *after.items()]:
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        bad = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        row = bad if name in came else int(batch.segments.ends[bad]) - 1
        step = int(batch["t"][row]) + (name not in came)
        raise EnvError(
            f"{at(worker, int(batch['env_id'][row]), step)}: the environment gave {name} = "
            f"{values[bad]!r}. Observations and rewards must be finite; mend the environment or "
            "clip what it gives."
        )
