"""What the integration tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Nets of 64 units are slower on several threads."""
    torch.set_num_threads(1)
