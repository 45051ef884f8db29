"""``spikelca simulate``: time-stepped simulation of one image."""

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
    add_table,
    inference_circuit,
    make_printer,
    scales_rows,
    shows_progress,
    table_options,
)

EXAMPLES = """\
examples:
  spikelca simulate --image 3 --plot membrane.png              digits, new small dictionary
  spikelca simulate model.spikelca digits --image 3 -o run.npz
  spikelca simulate --neuron rate --duration 0.1 --plot rate.png
  spikelca simulate --engine brian2 --wiring residual --duration 0.1
"""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command and its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        "simulate",
        help="simulate the circuit for one image",
        description="Integrate the equations of the circuit for one image over time.",
        epilog=EXAMPLES,
    )
    option = command.add_argument
    option(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="file from 'spikelca fit' (default: a small dictionary of digits, learned first)",
    )
    data_help = f"{DATA_HELP} (default: digits)"
    option("data", nargs="?", default="digits", metavar="DATA", help=data_help)
    option("--image", type=int, default=0, metavar="N", help="row of DATA (default: 0)")
    option(
        "--duration",
        type=float,
        default=0.2,
        metavar="S",
        help="simulated time in seconds (default: 0.2)",
    )
    option(
        "--dt",
        type=float,
        metavar="S",
        help="integration step in seconds (default: from the stability limit)",
    )
    option(
        "--wiring",
        choices=("lateral", "residual"),
        default="lateral",
        help="lateral inhibition, or an input population with residuals (default: lateral)",
    )
    option("--plot", type=Path, metavar="FILE", help="file for a figure (.png, .pdf or .svg)")
    option("-o", "--out", type=Path, metavar="FILE.npz", help="file for traces, spikes and code")
    option("--no-scale", action="store_true", help=SCALE_HELP)
    add_neuron(command, "spiking")
    seed_help = "seed of the dictionary that is learned without MODEL (default: 0)"
    option("--seed", type=int, metavar="N", help=seed_help)
    add_table(command)
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Simulate one image and write its traces and figure."""
    from spikelca.cli.files import check_output, check_suffix, open_rows, write_arrays

    log = make_printer(arguments)
    if arguments.plot is not None:
        check_output(check_suffix(arguments.plot, (".png", ".pdf", ".svg")), inputs(arguments))
    if arguments.out is not None:
        check_output(check_suffix(arguments.out, (".npz",)), inputs(arguments))
    table = table_options(arguments, [arguments.data])
    model = load_model(arguments)
    rows = open_rows(arguments.data, scales_rows(arguments, model), **table)
    if not 0 <= arguments.image < len(rows):
        raise ValueError(f"--image must be from 0 to {len(rows) - 1}, got {arguments.image}.")
    circuit = make_circuit(model, arguments, log)
    [name] = circuit.widths
    image = rows[[arguments.image]]
    response = simulate_image(circuit, {name: image}, arguments)
    log(summary(circuit, {name: image}, response))
    if arguments.out is not None:
        write_arrays(arguments.out, response_arrays(response), "code")
        log(f"written: {arguments.out}")
    if arguments.plot is not None:
        write_plot(circuit, image, response, arguments)
        log(f"written: {arguments.plot}")


def inputs(arguments: argparse.Namespace) -> list[Any]:
    """Return the files that are read."""
    return [arguments.model, arguments.data]


def load_model(arguments: argparse.Namespace) -> Any:
    """Load the model file, None without one."""
    if arguments.model is None:
        return None
    if arguments.seed is not None:
        raise ValueError("--seed must not be given with MODEL, because no dictionary is learned.")
    from spikelca.persistence import load

    return load(arguments.model)


def make_circuit(model: Any, arguments: argparse.Namespace, log: Any) -> Any:
    """Return the circuit of the model or of a new one, with the given neuron and wiring."""
    import numpy as np

    from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, SpikingNeuron

    neuron = SpikingNeuron() if arguments.neuron == "spiking" else RateNeuron()
    if model is None:
        # One neuron shows within a moment whether duration and dt are valid for any dictionary.
        one = Circuit(neuron, SoftThreshold(0.1), [Dictionary("x", np.eye(1))])
        one.simulate({"x": np.zeros((1, 1))}, arguments.duration, arguments.dt)
        log("no model given: learning 100 neurons from the handwritten digits")
        model = fit_default_model(arguments.seed or 0, shows_progress(arguments))
    return inference_circuit(model)._replace(neuron=neuron, wiring=arguments.wiring)


def fit_default_model(seed: int, verbose: bool) -> Any:
    """Learn a small dictionary of handwritten digits."""
    from spikelca import LinkedLCA
    from spikelca.cli.files import normalise_rows
    from spikelca.datasets import load_images

    model = LinkedLCA(
        100, threshold=0.05, n_epochs=5, batch_size=100, random_state=seed, verbose=verbose
    )
    return model.fit(normalise_rows(load_images("digits").X_train))


def simulate_image(circuit: Any, stimuli: Any, arguments: argparse.Namespace) -> Any:
    """Simulate the circuit and record membrane potentials and spikes."""
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
    """Summarise the run, and compare its energy with that of the steady-state code."""
    import numpy as np

    minimum, reached = (
        float(circuit.energy(stimuli, code)[0])
        for code in (circuit.encode(stimuli, 1e-8).code, response.code)
    )
    active = np.count_nonzero(response.code)
    # Both energies of a blank image are zero.
    excess = f"{reached / minimum - 1:.1e} above" if minimum else "that of"
    spikes = "" if response.spikes is None else f", {len(response.spikes)} spikes"
    return (
        f"{response.clock.n_steps} steps of {1e3 * response.clock.dt:.3g} ms{spikes}, {active} of "
        f"{circuit.n_neurons} neurons active; energy {reached:.6f}, {excess} the steady-state code"
    )


def response_arrays(response: Any) -> dict[str, Any]:
    """Collect code, times, traces and spikes of a run."""
    arrays = {"code": response.code, "times": response.times, **response.traces}
    if response.spikes is not None:
        arrays["spike_neuron"] = response.spikes.neuron
        arrays["spike_time"] = response.spikes.times
    return {name.replace(":", "_"): values for name, values in arrays.items()}


def write_plot(circuit: Any, image: Any, response: Any, arguments: argparse.Namespace) -> None:
    """Draw membrane potentials, spikes, the image and its reconstruction, and write the figure."""
    from spikelca.cli.figures import draw_run, save_figure

    title = f"image {arguments.image}: {arguments.neuron} neurons, {circuit.wiring} wiring"
    [name] = circuit.widths
    images = {"image": image, "from code": circuit.reconstruct(response.code, name)}
    figure = draw_run(response, circuit.transfer.threshold, title, images)
    save_figure(figure, arguments.plot)
