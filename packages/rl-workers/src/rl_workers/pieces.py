"""Postprocessing a trajectory piece at a time, with the other agents' pieces beside it."""

from __future__ import annotations

from collections.abc import Mapping

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import AgentID, EpisodeRecord, PolicyID, Postprocess


def postprocess_pieces(
    batches: Mapping[PolicyID, SampleBatch],
    postprocess: Mapping[PolicyID, Postprocess],
    agent_ids: Mapping[int, AgentID],
    episodes: list[EpisodeRecord],
) -> dict[PolicyID, SampleBatch]:
    """Postprocess each policy's rows, whole or a trajectory piece at a time, as it asks.

    A function called per piece also sees the other agents' pieces of the same episode.
    """
    done = {
        pid: batch if postprocess[pid].per_trajectory else postprocess[pid](batch, {}, None)
        for pid, batch in batches.items()
    }
    if not any(postprocess[pid].per_trajectory for pid in batches):
        return done
    pieces = {pid: _pieces(batch) for pid, batch in batches.items()}
    records = {record.eps_id: record for record in episodes}
    for pid in batches:
        if postprocess[pid].per_trajectory and pieces[pid]:
            changed = []
            for piece in pieces[pid]:
                eps_id, agent = int(piece["eps_id"][0]), int(piece["agent_index"][0])
                others = {
                    agent_ids[int(other["agent_index"][0])]: (other_pid, other)
                    for other_pid, of_policy in pieces.items()
                    for other in of_policy
                    if int(other["eps_id"][0]) == eps_id and int(other["agent_index"][0]) != agent
                }
                changed.append(postprocess[pid](piece, others, records.get(eps_id)))
            done[pid] = concat_samples(changed)
    return done


def _pieces(batch: SampleBatch) -> list[SampleBatch]:
    assert batch.segments is not None
    ends = batch.segments.ends.tolist()
    return [batch[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
