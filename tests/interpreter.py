"""Interpreter of NIR graphs: the equations of the nodes, forward Euler, and metadata.

It is independent of circuits. In a step, every node has one value, computed from the sum of the
values of its predecessors. The value of a leaky integrator is its potential at the start of the
step, that of an integrate-and-fire neuron is one if it fires. Properties that NIR leaves
unspecified (`reset`, `v_floor`, `v_initial`) are read from the metadata of the node; without
``metadata`` they are as in the text of NIR.
"""

from __future__ import annotations

import numpy as np


class Run:
    """A graph under constant inputs: (n_samples, width) by the names of its input nodes."""

    def __init__(self, graph, inputs, dt, *, metadata=True):
        self.nodes, self.dt = graph.nodes, dt
        edges = graph.edges
        self.predecessors = {name: [a for a, b in edges if b == name] for name in graph.nodes}
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
        """Whether a node depends on inputs only, and on no node with a state."""
        if kind(self.nodes[name]) in ("LI", "IF"):
            return False
        return name in self.constant or all(self.is_constant(b) for b in self.predecessors[name])

    def value(self, name, values):
        """The value of a node in this step; ``values`` caches those of the step."""
        if name in self.constant:
            return self.constant[name]
        if name not in values:
            node = self.nodes[name]
            if kind(node) == "LI":
                values[name] = self.v[name]
            else:
                values[name] = VALUES[kind(node)](self, name, values)
        return values[name]

    def total_input(self, name, values):
        """The sum of the values of the predecessors of a node."""
        return sum(self.value(b, values) for b in self.predecessors[name])

    def linear(self, name, values):
        node, x = self.nodes[name], self.total_input(name, values)
        nonzero = np.flatnonzero(x.any(axis=0))  # few neurons spike in a step
        return x[:, nonzero] @ node.weight[:, nonzero].T.astype(np.float64)

    def fire(self, name, values):
        """``dv/dt = R I``; ``z = 1`` if v reaches v_threshold; then the reset."""
        node, metadata, v = self.nodes[name], self.metadata[name], self.v[name]
        current = self.total_input(name, values)
        is_charged = (current > 0) | (v > metadata.get("v_floor", -np.inf))
        v = v + self.dt * node.r * np.where(is_charged, current, 0.0)
        z = v >= node.v_threshold
        reset = v - node.v_threshold if metadata.get("reset") == "subtract" else node.v_reset
        self.v[name] = np.where(z, reset, v)
        return z.astype(np.float64)

    def step(self, output="output"):
        """Advance by dt, and return the input of the output node."""
        values = {}
        out = self.total_input(output, values)
        leaky = [name for name in self.v if kind(self.nodes[name]) == "LI"]
        current = {name: self.total_input(name, values) for name in leaky}
        for name in leaky:
            node, v = self.nodes[name], self.v[name]
            self.v[name] = v + self.dt / node.tau * ((node.v_leak - v) + node.r * current[name])
        return out

    def spikes(self, n_steps):
        """(n_steps, n_samples, n_neurons) bool."""
        return np.array([self.step() > 0 for _ in range(n_steps)])


def kind(node):
    return type(node).__name__


VALUES = {
    "Affine": lambda run, name, values: run.linear(name, values) + run.nodes[name].bias,
    "Linear": Run.linear,
    "Scale": lambda run, name, values: run.nodes[name].scale * run.total_input(name, values),
    "IF": Run.fire,
}
