"""Eager PyTorch as one writes it by hand, `torch.distributions` and all: microseconds of acting."""

from functools import cache

import torch
from acting import SPACES, measure_calls, observations
from harness import serve
from torch import nn

torch.set_num_threads(1)


@cache
def net_of(hiddens, lstm):
    """Dense layers, an LSTM or none, a head; with the sizes in front of each layer."""
    sizes = (SPACES[0].shape[0], *hiddens)
    layers = [m for i, o in zip(sizes, hiddens, strict=False) for m in (nn.Linear(i, o), nn.Tanh())]
    cell = nn.LSTMCell(sizes[-1], 64) if lstm else None
    return nn.Sequential(*layers), cell, nn.Linear(64 if lstm else sizes[-1], int(SPACES[1].n))


@torch.no_grad()
def measure(hiddens, lstm, batch, seconds):
    body, cell, head = net_of(tuple(hiddens), lstm)
    obs, state = observations(batch), (torch.zeros(batch, 64), torch.zeros(batch, 64))

    def act():
        x = body(torch.from_numpy(obs))
        if cell is not None:
            x, _ = cell(x, state)
        dist = torch.distributions.Categorical(logits=head(x))
        actions = dist.sample()
        return actions.numpy(), dist.log_prob(actions).numpy()

    return measure_calls(act, seconds)


serve(measure)
