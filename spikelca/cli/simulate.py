"""``spikelca simulate``: one image in time, neuron by neuron."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikelca.cli.common import (
    DATA_HELP,
    SCALE_HELP,
    Commands,
    add_neuron,
    add_quiet,
    add_seed,
    inference_circuit,
    make_printer,
)

EXAMPLES = """\
examples:
  spikelca simulate --image 3 --plot membrane.png              digits, a dictionary learned now
  spikelca simulate model.spikelca digits --image 3 -o run.npz
  spikelca simulate --neuron rate --duration 0.1 --plot rate.png
  spikelca simulate --engine brian2 --wiring residual --duration 0.1
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Describe the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "simulate",
        help="run one image through the circuit in time",
        description="Integrate the equations of the circuit for one image; spiking unless told.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="file from 'spikelca fit'; without it a small dictionary of digits is learned first",
    )
    option("data", nargs="?", default="digits", metavar="DATA", help=f"{DATA_HELP}; default digits")
    option("--image", type=int, default=0, metavar="N", help="row of DATA, default 0")
    option("--duration", type=float, default=0.2, metavar="S", help="seconds, default 0.2")
    option("--dt", type=float, metavar="S", help="step in seconds (default: from the spectrum)")
    option(
        "--wiring",
        choices=("lateral", "residual"),
        default="lateral",
        help="one layer that inhibits itself, or inputs that hold the error; default lateral",
    )
    option("--plot", type=Path, metavar="FILE", help="picture of it (.png, .pdf or .svg)")
    option("-o", "--out", type=Path, metavar="FILE.npz", help="traces, spikes and code")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_neuron(command, "spiking")
    add_seed(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    from spikelca.cli.files import check_suffix, read_rows, write_arrays

    say = make_printer(arguments)
    if arguments.plot is not None:
        check_suffix(arguments.plot, (".png", ".pdf", ".svg"))
    if arguments.out is not None:
        check_suffix(arguments.out, (".npz",))
    rows = read_rows(arguments.data, not arguments.no_scale)
    if not 0 <= arguments.image < len(rows):
        raise ValueError(f"--image is {arguments.image}; 0 to {len(rows) - 1} was awaited.")
    circuit = make_circuit(arguments, say)
    [name] = circuit.widths
    response = simulate(circuit, {name: rows[[arguments.image]]}, arguments)
    say(summary(circuit, {name: rows[[arguments.image]]}, response))
    if arguments.out is not None:
        write_arrays(arguments.out, response_arrays(response), "code")
        say(f"written: {arguments.out}")
    if arguments.plot is not None:
        write_plot(circuit, response, arguments)
        say(f"written: {arguments.plot}")


def make_circuit(arguments: argparse.Namespace, say: Any) -> Any:
    """The circuit of the model file, or one learned now, with the neuron and wiring asked for."""
    from spikelca import RateNeuron, SpikingNeuron

    neuron = SpikingNeuron() if arguments.neuron == "spiking" else RateNeuron()
    if arguments.model is None:
        say("no model named: learning 100 neurons from the handwritten digits")
        model = fit_default_model(arguments.seed)
    else:
        from spikelca.persistence import load

        model = load(arguments.model)
    return inference_circuit(model)._replace(neuron=neuron, wiring=arguments.wiring)


def fit_default_model(seed: int) -> Any:
    """A small dictionary of handwritten digits, learned in a second or two."""
    from spikelca import LinkedLCA
    from spikelca.cli.files import normalise_rows
    from spikelca.datasets import load_images

    images = normalise_rows(load_images("digits").X_train)
    return LinkedLCA(100, threshold=0.05, n_epochs=5, batch_size=100, random_state=seed).fit(images)


def simulate(circuit: Any, stimuli: Any, arguments: argparse.Namespace) -> Any:
    """The run, with its membrane potentials and spikes."""
    from spikelca import SpikingNeuron

    spiking = isinstance(circuit.neuron, SpikingNeuron)
    return circuit.simulate(
        stimuli,
        arguments.duration,
        arguments.dt,
        engine=arguments.engine,
        record=("u", "spikes") if spiking else ("u",),
    )


def summary(circuit: Any, stimuli: Any, response: Any) -> str:
    """What came out, beside the settled code."""
    import numpy as np

    best, reached = (
        float(circuit.energy(stimuli, code)[0])
        for code in (circuit.encode(stimuli, 1e-8).code, response.code)
    )
    active = np.count_nonzero(response.code)
    spikes = "" if response.spikes is None else f", {len(response.spikes)} spikes"
    return (
        f"{response.clock.n_steps} steps of {1e3 * response.clock.dt:.3g} ms{spikes}, {active} of "
        f"{circuit.n_neurons} neurons active; energy {reached:.6f}, {reached / best - 1:.1e} above "
        "the settled code"
    )


def response_arrays(response: Any) -> dict[str, Any]:
    """What is written of a run."""
    found = {"code": response.code, "times": response.times, **response.traces}
    if response.spikes is not None:
        found["spike_neuron"] = response.spikes.neuron
        found["spike_time"] = response.spikes.step * response.clock.dt
    return {name.replace(":", "_"): values for name, values in found.items()}


def write_plot(circuit: Any, response: Any, arguments: argparse.Namespace) -> None:
    """Membrane potentials, and spikes below them."""
    from spikelca.cli.figures import draw_run, save_figure

    title = f"image {arguments.image}: {arguments.neuron} neurons, {circuit.wiring} wiring"
    save_figure(draw_run(response, circuit.transfer.threshold, title), arguments.plot)
