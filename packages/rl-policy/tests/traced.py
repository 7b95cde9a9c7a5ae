"""TensorFlow's graphs for tests: each call runs inside `tf.function`, with sizes not yet known."""

from __future__ import annotations

import tensorflow as tf

from rl_policy.xp import tf_xp


def traced(function, known=False):
    """`function` as a graph of its tensors, no size of which is known, or but the first all are.

    Arguments and results are nested as they like; what is no tensor is a constant of the graph.
    """
    graphs = {}

    def call(*args, **kwargs):
        flat = tf.nest.flatten((args, kwargs))
        tensors = [x for x in flat if tf.is_tensor(x)]
        specs = tuple(tf.TensorSpec(_relaxed(x.shape, known), x.dtype) for x in tensors)
        if specs not in graphs or len(tensors) < len(flat):
            graphs[specs] = _graph(function, (args, kwargs), specs)
        graph, results = graphs[specs]
        found = iter(graph(*tensors))
        filled = [next(found) if tf.is_tensor(x) else x for x in tf.nest.flatten(results[0])]
        return tf.nest.pack_sequence_as(results[0], filled)

    return call


def _graph(function, nested, specs):
    """A graph from tensors to tensors, and a list that holds the nested result once it ran."""
    results = []

    def graph(*tensors):
        given = iter(tensors)
        mixed = [next(given) if tf.is_tensor(x) else x for x in tf.nest.flatten(nested)]
        args, kwargs = tf.nest.pack_sequence_as(nested, mixed)
        results.append(function(*args, **kwargs))
        return [x for x in tf.nest.flatten(results[0]) if tf.is_tensor(x)]

    return tf.function(graph, input_signature=specs), results


def _relaxed(shape, known):
    return [None, *shape[1:]] if known and len(shape) else [None] * len(shape)


class TracedNamespace:
    """`tf_xp`, each of whose functions is traced; what gives a plain value is left alone."""

    def __getattr__(self, name):
        function = getattr(tf_xp, name)
        return function if name in ("to_numpy", "float_min") else traced(function)


class TracedDist:
    """A distribution, each of whose methods is a graph that makes it first."""

    def __init__(self, kind, inputs):
        self._kind, self._inputs, self._graphs = kind, inputs, {}

    def __getattr__(self, name):
        def method(inputs, *args):
            args = [self._kind(args[0])] if name == "kl" else args
            return getattr(self._kind(inputs), name)(*args)

        graph = self._graphs.setdefault(name, traced(method, known=True))
        return lambda *args: graph(self._inputs, *([args[0]._inputs] if name == "kl" else args))
