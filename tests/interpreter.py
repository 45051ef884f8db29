"""A small interpreter of NIR graphs: the equations of NIR's nodes, forward Euler, and metadata.

It knows nothing of circuits. In a step every node has one value, made of the sum of what its
predecessors have: a leaky integrator shows the potential it starts with, an integrate-and-fire
neuron whether it fires, ones for one step. What NIR's equations leave open (`reset`, `v_floor`,
`v_initial`) is read from the metadata of the node, or, without ``metadata``, is as NIR's text says.
"""

from __future__ import annotations

import numpy as np


class Run:
    """A graph under constant inputs: (n_samples, width) by the names of its input nodes."""

    def __init__(self, graph, inputs, dt, *, metadata=True):
        self.nodes, self.dt = graph.nodes, dt
        self.before = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
        self.metadata = {n: node.metadata if metadata else {} for n, node in graph.nodes.items()}
        self.n_samples = len(next(iter(inputs.values())))
        self.constant = {name: np.asarray(x, np.float64) for name, x in inputs.items()}
        self.constant = {
            name: self.value(name, {}) for name in self.nodes if self.is_constant(name)
        }
        self.v = {
            name: np.full((self.n_samples, len(node.r)), self.metadata[name].get("v_initial", 0.0))
            for name, node in self.nodes.items()
            if kind(node) in ("LI", "IF")
        }

    def is_constant(self, name):
        """Whether a node follows from inputs alone, without anything that has a state."""
        if kind(self.nodes[name]) in ("LI", "IF"):
            return False
        return name in self.constant or all(self.is_constant(b) for b in self.before[name])

    def value(self, name, now):
        """What a node shows in this step; ``now`` holds what is known of it already."""
        if name in self.constant:
            return self.constant[name]
        if name not in now:
            node = self.nodes[name]
            now[name] = self.v[name] if kind(node) == "LI" else SHOWS[kind(node)](self, name, now)
        return now[name]

    def into(self, name, now):
        """The sum of what reaches a node."""
        return sum(self.value(b, now) for b in self.before[name])

    def linear(self, name, now):
        node, x = self.nodes[name], self.into(name, now)
        some = np.flatnonzero(x.any(axis=0))  # most neurons are silent in a step
        return x[:, some] @ node.weight[:, some].T.astype(np.float64)

    def fires(self, name, now):
        """``dv/dt = R I``; ``z = 1`` if v reaches v_threshold; then the reset."""
        node, told, v, flow = (
            self.nodes[name],
            self.metadata[name],
            self.v[name],
            self.into(name, now),
        )
        flow = np.where((flow > 0) | (v > told.get("v_floor", -np.inf)), flow, 0.0)
        v = v + self.dt * node.r * flow
        z = v >= node.v_threshold
        after = v - node.v_threshold if told.get("reset") == "subtract" else node.v_reset
        self.v[name] = np.where(z, after, v)
        return z.astype(np.float64)

    def step(self, output="output"):
        """One step of dt: what reaches the output."""
        now = {}
        out = self.into(output, now)
        leaky = [name for name in self.v if kind(self.nodes[name]) == "LI"]
        flow = {name: self.into(name, now) for name in leaky}
        for name in leaky:
            node, v = self.nodes[name], self.v[name]
            self.v[name] = v + self.dt / node.tau * ((node.v_leak - v) + node.r * flow[name])
        return out

    def spikes(self, n_steps):
        """(n_steps, n_samples, n_neurons) bool."""
        return np.array([self.step() > 0 for _ in range(n_steps)])


def kind(node):
    return type(node).__name__


SHOWS = {
    "Affine": lambda run, name, now: run.linear(name, now) + run.nodes[name].bias,
    "Linear": Run.linear,
    "Scale": lambda run, name, now: run.nodes[name].scale * run.into(name, now),
    "IF": Run.fires,
}
