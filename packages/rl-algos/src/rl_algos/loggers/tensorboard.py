"""TensorBoard events: curves over environment steps, distributions of returns and lengths."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_algos.loggers import events
from rl_algos.loggers.files import RowFile
from rl_algos.loggers.scalars import curves

DISTRIBUTION_SECONDS = 5.0
"""Least time between two distributions of a tag: TensorBoard shows 50 of them, however many."""


class TensorBoardLogger:
    """`events.out.tfevents.*`; x is `timesteps_total`, tags are those of `scalars.curves`."""

    def __init__(
        self, directory: Path, params: Mapping[str, Any] | None = None, after_iteration: int = 0
    ) -> None:
        self._directory = directory
        self._resumed = after_iteration > 0
        self._distributed = 0.0
        earlier = len(list(directory.glob("events.out.tfevents.*")))
        # TensorBoard reads files in the order of their names.
        where = f"{socket.gethostname()}.{os.getpid()}.{earlier}"
        path = directory / f"events.out.tfevents.{int(time.time()):010d}.{where}"
        self._file = RowFile(path)
        self._file.append(events.event(time.time(), 0, events.file_version()))

    def log(self, result: Mapping[str, Any]) -> None:
        """Append the result's curves."""
        step, now = int(result["timesteps_total"]), time.time()
        if self._resumed:  # whatever was logged after the checkpoint is void
            first = step - int(result.get("num_env_steps_sampled_this_iter", 0)) + 1
            self._file.append(events.event(now, max(0, first), events.session_start()))
            self._resumed = False
        distributions = {}
        if now - self._distributed >= DISTRIBUTION_SECONDS:
            self._distributed = now
            samples = result.get("hist_stats", {}).items()
            distributions = {f"hist_stats/{name}": values for name, values in samples if values}
        self._file.append(events.event(now, step, events.summary(curves(result), distributions)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __repr__(self) -> str:
        return f"TensorBoardLogger({str(self._directory)!r})"
