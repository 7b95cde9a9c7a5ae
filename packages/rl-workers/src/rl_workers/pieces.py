"""Postprocessing a trajectory piece at a time, with the other agents' pieces beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import Actor, AgentID, EpisodeRecord, PolicyID, Postprocess
from rl_workers.callbacks import Callbacks, overridden
from rl_workers.flow.results import Episode

Others = Mapping[AgentID, tuple[PolicyID, SampleBatch]]
TellPiece = Callable[[int, AgentID, PolicyID, SampleBatch, Others], None]
"""`tell(eps_id, agent id, policy id, postprocessed piece, all raw pieces of that episode)`."""


def postprocess_pieces(
    batches: Mapping[PolicyID, SampleBatch],
    postprocess: Mapping[PolicyID, Postprocess],
    agent_ids: Mapping[int, AgentID],
    episodes: Sequence[EpisodeRecord],
    tell: TellPiece | None = None,
) -> dict[PolicyID, SampleBatch]:
    """Postprocess each policy's rows, whole or a trajectory piece at a time, as it asks.

    A function called per piece also sees the other agents' pieces of the same episode. `tell`
    hears of every piece when it is done and may set its columns anew.
    """
    split = tell is not None or any(postprocess[pid].per_trajectory for pid in batches)
    pieces = {pid: _pieces(batch) for pid, batch in batches.items()} if split else {}
    raw = {pid: [piece.copy(shallow=True) for piece in pieces[pid]] for pid in pieces if tell}
    records = {record.eps_id: record for record in episodes}
    done = dict(batches)
    for pid, batch in batches.items():
        of_policy = postprocess[pid]
        if of_policy.per_trajectory:
            changed = []
            for piece in pieces[pid]:
                eps_id, agent = _whose(piece, agent_ids)
                others = _of_episode(pieces, eps_id, agent_ids)
                del others[agent]
                changed.append(of_policy(piece, others, records.get(eps_id)))
        else:
            done[pid] = of_policy(batch, {}, None)
            changed = _pieces(done[pid]) if tell else []
        if tell is not None:
            for piece, before in zip(changed, raw[pid], strict=True):
                eps_id, agent = _whose(before, agent_ids)
                tell(eps_id, agent, pid, piece, _of_episode(raw, eps_id, agent_ids))
        if changed:
            done[pid] = concat_samples(changed)
    return done


class TrajectoryHook:
    """Tells `on_postprocess_trajectory` of pieces, with the episodes that they are of."""

    def __init__(
        self,
        call: Callable[..., None],
        worker: int,
        policies: Mapping[PolicyID, Actor],
        under_way: Sequence[Episode],
    ) -> None:
        """`under_way` is the sampler's own list of episodes, which changes as they do."""
        self.ended: list[Episode] = []
        """Episodes that ended in this fragment."""
        self._call, self._under_way = call, under_way
        self._told = {"worker": worker, "policies": policies}

    def __call__(
        self, eps_id: int, agent: AgentID, pid: PolicyID, piece: SampleBatch, raw: Others
    ) -> None:
        known = (*self.ended, *self._under_way)
        # An episode that was closed by a restore may have been forgotten by a second one.
        episode = next((e for e in known if e.eps_id == eps_id), Episode(eps_id, 0))
        self._call(
            episode=episode, agent_id=agent, policy_id=pid,
            postprocessed_batch=piece, original_batches=raw, **self._told,
        )  # fmt: skip

    def records(self, records: list[EpisodeRecord]) -> list[EpisodeRecord]:
        """The fragment's records with what the hook did to their custom metrics."""
        ended, self.ended = {episode.eps_id: episode for episode in self.ended}, []
        return [ended[old.eps_id].record(old.worker, old.terminated) for old in records]


def trajectory_hook(
    callbacks: Callbacks,
    worker: int,
    policies: Mapping[PolicyID, Actor],
    under_way: Sequence[Episode],
) -> TrajectoryHook | None:
    """The hook where `callbacks` overrides it."""
    call = overridden(callbacks, "on_postprocess_trajectory")
    return None if call is None else TrajectoryHook(call, worker, policies, under_way)


def _pieces(batch: SampleBatch) -> list[SampleBatch]:
    assert batch.segments is not None
    ends = batch.segments.ends.tolist()
    return [batch[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _whose(piece: SampleBatch, agent_ids: Mapping[int, AgentID]) -> tuple[int, AgentID]:
    """Episode and agent of a piece."""
    return int(piece["eps_id"][0]), agent_ids[int(piece["agent_index"][0])]


def _of_episode(
    pieces: Mapping[PolicyID, list[SampleBatch]], eps_id: int, agent_ids: Mapping[int, AgentID]
) -> dict[AgentID, tuple[PolicyID, SampleBatch]]:
    """{agent: (policy, its piece)} of an episode."""
    return {
        _whose(piece, agent_ids)[1]: (pid, piece)
        for pid, of_policy in pieces.items()
        for piece in of_policy
        if int(piece["eps_id"][0]) == eps_id
    }
