"""Command line: inputs, outputs, messages and exit codes."""

from __future__ import annotations

import io
import re
import shlex
import signal
import struct
import subprocess
import sys
from inspect import signature
from pathlib import Path
from shutil import which
from types import SimpleNamespace

import numpy as np
import pytest
from quickly import HANGS, WORDS, quick_results
from sklearn.preprocessing import normalize
from tqdm import tqdm

from spikelca import Contrast, SpikingNeuron, load
from spikelca.cli import main
from spikelca.cli.common import inference_circuit, make_printer
from spikelca.cli.files import read_rows
from spikelca.experiments.report import render_html
from spikelca.experiments.reproduce import reproduce_paper
from spikelca.experiments.table import make_table
from spikelca.learning.checkpoint import read_checkpoint

COMMANDS = ("reproduce", "fit", "encode", "simulate", "info", "bench")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "digits.spikelca"
    assert (
        main(["fit", "digits", "--neurons", "30", "--epochs", "2", "--quiet", "-o", str(path)]) == 0
    )
    return path


@pytest.mark.parametrize("option", [[], ["--no-scale"]], ids=["scaled", "as it is"])
def test_rows_are_scaled_unless_no_scale(model, tmp_path, option):
    rows = np.random.default_rng(0).random((40, 64)) / 4
    rows[7] = 0
    data, out = tmp_path / "x.npy", tmp_path / "out.npz"
    np.save(data, rows)
    seen = rows if option else normalize(rows)  # a blank row stays blank
    circuit = inference_circuit(load(model))
    [name] = circuit.widths
    assert main(["encode", str(model), str(data), "-o", str(out), *option]) == 0
    with np.load(out) as found:
        np.testing.assert_allclose(found["code"], circuit.encode({name: seen}).code, atol=1e-5)
    words = ["--image", "3", "--neuron", "rate", "-o", str(out), "--quiet", *option]
    assert main(["simulate", str(model), str(data), *words]) == 0
    with np.load(out) as found:
        code = circuit.simulate({name: seen[[3]]}, 0.2).code
        np.testing.assert_allclose(np.ravel(found["code"]), code.ravel(), atol=1e-5)


def read_error(words, capsys):
    """Run a command that fails, and return its error message of one line."""
    assert main(words) == 1
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    assert "examples:" in output
    assert output.count(f"spikelca {command}") >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_the_help_are_valid(command, capsys):
    from spikelca.cli import make_parser

    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = re.findall(rf"^  spikelca ({command}.*?)(?:   .*)?$", capsys.readouterr().out, re.M)
    assert len(lines) >= 3
    for line in lines:
        make_parser().parse_args(line.split())


HELP = """
import atexit, sys
from spikelca.cli import main
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
main(["--help"])
"""


def options():
    """Return the options of all commands, by command and option string."""
    from spikelca.cli import make_parser

    (commands,) = (a for a in make_parser()._actions if hasattr(a.choices, "items"))
    return {
        (command, action.option_strings[-1]): action
        for command, parser in commands.choices.items()
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    }


def test_defaults_are_those_of_the_help():
    pattern = r"\(default: ([\w./-]+)"
    defaults = {key: re.search(pattern, o.help or "") for key, o in options().items()}
    assert sum(found is not None for found in defaults.values()) > 15
    for key, found in defaults.items():
        default = options()[key].default
        default = default[0] if isinstance(default, list) else default
        if found and default is not None and default is not False:  # not a switch
            word = found[1].rstrip("/")
            assert word == default if isinstance(default, str) else float(word) == default, key


def test_options_take_what_their_metavar_names():
    types = {"N": int, "LAM": float, "S": float, "MODEL": Path}
    for key, option in options().items():
        assert option.type is types.get(option.metavar, option.type), key
        if isinstance(option.default, int | float) and option.nargs != 0:
            assert option.type is type(option.default), key
        assert option.default is False or option.nargs != 0, key  # a switch is off


def test_unknown_choice_is_wrong_usage(capsys):
    chosen = {key: option.choices for key, option in options().items() if option.choices}
    assert {key[1] for key in chosen} == {
        "--transfer", "--driver", "--wiring", "--neuron", "--engine"
    }  # fmt: skip
    for (command, word), choices in chosen.items():
        assert options()[command, word].default in choices
        with pytest.raises(SystemExit) as stop:
            main([command, *(["x", "-o", "y"] if command == "fit" else []), word, "other"])
        assert stop.value.code == 2
        assert "invalid choice: 'other'" in capsys.readouterr().err


def test_help_imports_no_heavy_package():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    heavy = {"numpy", "scipy", "numba", "sklearn", "matplotlib", "brian2", "PIL", "pandas", "dask"}
    assert "usage: spikelca" in done.stdout
    assert heavy & set(done.stderr.split()) == {"numpy"}


def test_encode_writes_codes_and_certificates(model, tmp_path, capsys):
    out = tmp_path / "codes.npz"
    words = ["encode", str(model), "digits", "--recall", "printed", "-o", str(out)]
    assert main(words) == 0
    assert "500 codes" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert arrays["code"].shape == (500, 30)
        assert arrays["recalled_printed"].shape == (500, 64)
        assert arrays["gap"].max() <= 1.5e-4


def test_printed_certificate_matches_the_file(model, tmp_path, capsys):
    from spikelca import HardThreshold, load, save

    hard, out = tmp_path / "hard.spikelca", tmp_path / "codes.npz"
    circuit = load(model).circuit_.observe("handwritten")
    save(circuit.replace(transfer=HardThreshold(0.2)), hard)
    for path, name in ((model, "gap"), (hard, "residual")):
        assert main(["encode", str(path), "digits", "--tol", "1e-3", "-o", str(out)]) == 0
        output = capsys.readouterr().out
        with np.load(out) as arrays:
            largest = {
                key: f"{arrays[key].max():.1e}" for key in ("gap", "residual") if key in arrays
            }
            active = np.count_nonzero(arrays["code"], axis=1).mean()
        assert re.findall(r"largest (.*); written", output) == [f"{name} {largest[name]}"]
        assert len(set(largest.values())) == len(largest)
        assert f"{active:.1f} of 30 neurons active" in output


def test_codes_equal_those_of_transform(model, tmp_path):
    from spikelca import load

    out = tmp_path / "codes.npz"
    assert main(["encode", str(model), "digits", "--quiet", "-o", str(out)]) == 0
    with np.load(out) as arrays:
        assert np.array_equal(arrays["code"], load(model).transform(read_rows("digits")))


def test_seed_determines_the_model(tmp_path):
    atoms = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / name
        words = ["fit", "digits", "--neurons", "20", "--epochs", "1", "--quiet"]
        assert main([*words, "--seed", str(seed), "-o", str(path)]) == 0
        from spikelca import load

        atoms.append(load(path).components_)
    assert np.array_equal(atoms[0], atoms[1])
    assert not np.array_equal(atoms[0], atoms[2])


def test_fit_links_two_modalities(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.random((60, 9)))
    np.savez(tmp_path / "b.npz", other=rng.random((60, 2)), spectra=rng.random((60, 4)))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    out = tmp_path / "model"
    words = [
        "fit",
        f"image={tmp_path}/a.npy",
        f"sound={tmp_path}/b.npz:spectra",
        "--observe",
        "image",
    ]
    options = ["--labels", f"{tmp_path}/y.npy", "--ordinal", "--neurons", "12", "--epochs", "1"]
    assert main([*words, *options, "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    output = capsys.readouterr().out
    assert "modality image" in output
    assert "modality sound" in output
    assert "OrdinalDriver(n_classes=3" in output


def _idx_bytes(images):
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *images.shape)
    return header + images.astype(np.uint8).tobytes()


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "idx3-ubyte"])
def test_images_are_read_from_every_format(suffix, tmp_path):
    images = np.random.default_rng(0).integers(1, 255, (5, 3, 4)).astype(np.uint8)
    path = tmp_path / f"images.{suffix}"
    if suffix == "npy":
        np.save(path, images)
    elif suffix == "npz":
        np.savez(path, images)
    elif suffix == "csv":
        np.savetxt(path, images.reshape(5, 12), delimiter=",")
    else:
        path.write_bytes(_idx_bytes(images))
    rows = read_rows(str(path))
    flat = images.reshape(5, 12)
    expected = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert np.allclose(rows, expected, atol=1e-6)


def test_codes_are_written_as_csv(model, tmp_path):
    out = tmp_path / "codes.csv"
    assert main(["encode", str(model), "digits", "--quiet", "-o", str(out)]) == 0
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("code0,code1,")
    assert len(lines) == 501
    assert read_rows(str(out), scale=False).shape == (500, 30)


@pytest.mark.parametrize("neuron", ["rate", "spiking"])
def test_simulate_writes_figure_and_traces(neuron, model, tmp_path, capsys):
    plot, out = tmp_path / "run.png", tmp_path / "run.npz"
    words = ["simulate", str(model), "--image", "3", "--neuron", neuron, "--duration", "0.05"]
    assert main([*words, "--plot", str(plot), "-o", str(out)]) == 0
    output = capsys.readouterr().out
    assert ("spikes" in output) == (neuron == "spiking")
    assert plot.read_bytes().startswith(b"\x89PNG")
    with np.load(out) as arrays:
        assert arrays["u"].shape[1:] == (1, 30)
        assert ("spike_time" in arrays) == (neuron == "spiking")


def test_simulate_learns_a_model_if_none_is_given(tmp_path, capsys):
    plot = tmp_path / "membrane.png"
    assert main(["simulate", "--image", "3", "--duration", "0.05", "--plot", str(plot)]) == 0
    assert "no model given" in capsys.readouterr().out
    assert plot.is_file()


def test_quiet_prints_nothing(model, tmp_path, capsys):
    out = str(tmp_path / "codes.npz")
    assert main(["encode", str(model), "digits", "--quiet", "-o", out]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_info_shows_versions(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert "numba" in output
    assert "cores" in output


def test_info_shows_shape_of_an_array(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    assert main(["info", f"{tmp_path}/a.npy"]) == 0
    assert "(3, 4)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "no.npy", "-o", "m"], "no such file"),
        (["fit", "digits", "-o", "/no/where/m"], "no such folder"),
        (["fit", "digits", "--observe", "heard", "-o", "m"], "handwritten"),
        (["encode", "no.spikelca", "digits", "-o", "c.npz"], "no.spikelca"),
        (["encode", "{model}", "digits", "-o", "c.txt"], "'.npz', '.npy', '.csv'"),
        (["encode", "{model}", "{text}", "-o", "c.npz"], "NumPy"),
        (["encode", "{model}", "{narrow}", "-o", "c.npz"], "64 columns"),
        (["encode", "{text}", "digits", "-o", "c.npz"], "a.npy"),
        (["simulate", "{model}", "--image", "900"], "0 to 499"),
        (["simulate", "{model}", "--dt", "1"], "dt"),
        (["simulate", "{model}", "--plot", "x.gif"], "'.png'"),
        (["info", "nothing.npz"], "nothing.npz: no such file"),
        (["info", "nothing"], "nothing: no such file"),
    ],
)
def test_failure_is_reported_and_writes_nothing(
    words, message, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_text("no numbers")
    np.save(tmp_path / "narrow.npy", np.ones((2, 5)))
    before = set(tmp_path.iterdir())
    paths = {"{model}": str(model), "{text}": "a.npy", "{narrow}": "narrow.npy"}
    assert message in read_error([paths.get(word, word) for word in words], capsys)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [[], ["fit"], ["encode", "m"], ["simulate", "--image", "x"]])
def test_wrong_usage_exits_with_2(words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


LEARNING = """
import signal, sys
from spikelca.learning.checkpoint import Checkpoint
from spikelca.cli import main

def write(checkpoint, state):
    print("learning", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
Checkpoint.write_if_due = write
sys.exit(main(sys.argv[1:]))
"""


def test_interrupt_leaves_no_partial_file(tmp_path):
    checkpoint, out = tmp_path / "checkpoint", tmp_path / "model.spikelca"
    words = ["fit", "digits", "--neurons", "20", "--epochs", "100000", "--quiet"]
    words += ["--checkpoint", str(checkpoint), "-o", str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", LEARNING, *words], stdout=pipe, stderr=pipe, text=True
    ) as run:
        try:
            assert run.stdout.readline() == "learning\n"
            run.send_signal(signal.SIGINT)
            _, output = run.communicate(timeout=HANGS)
        finally:
            run.kill()
    assert run.returncode == 130, output
    command = shlex.join(["spikelca", *words, "--resume"])
    assert output.strip().splitlines()[-1].startswith("spikelca: interrupted")
    assert output.strip().endswith(f"The state is in {checkpoint}. Resume with: {command}")
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert read_checkpoint(checkpoint)


class Interrupted:
    """Replaces a function that is interrupted in its n-th call."""

    def __init__(self, function, n_calls):
        self.function, self.n_calls = function, n_calls

    def __call__(self, *args, **kwargs):
        self.n_calls -= 1
        if self.n_calls < 0:
            raise KeyboardInterrupt
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("n_batches", [0, 3])
def test_interrupted_fit_keeps_the_last_batch(tmp_path, monkeypatch, capsys, n_batches):
    from spikelca.circuit import Circuit

    step = Circuit._apply_statistics
    interrupted = Interrupted(step, n_batches)
    monkeypatch.setattr(Circuit, "_apply_statistics", lambda *a, **k: interrupted(*a, **k))
    out, words = tmp_path / "m.spikelca", ["fit", "digits", "--neurons", "20", "--quiet"]
    out.write_bytes(b"")
    assert main([*words, "--no-scale", "-o", str(out)]) == 130
    message = capsys.readouterr().err
    assert message.startswith("spikelca: interrupted. ")
    assert not out.read_bytes()  # a result is not replaced by a part of one
    kept = tmp_path / "m.interrupted.spikelca"
    assert kept.exists() == bool(n_batches)
    if n_batches:
        assert str(kept) in message
        assert load(kept).n_steps_ == n_batches
        assert load(kept).row_scaling_ == "none"


@pytest.mark.parametrize(("n_calls", "kept"), [(0, ()), (2, ("linked", "single"))])
def test_interrupted_reproduce_keeps_dictionaries(tmp_path, monkeypatch, capsys, n_calls, kept):
    from spikelca.experiments import table

    monkeypatch.setattr(table, "fit_kind", Interrupted(table.fit_kind, n_calls))
    monkeypatch.setattr(table, "map_two_threads", lambda f, jobs: (f(*job) for job in jobs))
    out = tmp_path / "new" / "results"
    assert main(["reproduce", "--quick", "--quiet", "--out", str(out)]) == 130
    names = [f"dictionary_{kind}.npz" for kind in kept]
    assert (tmp_path / "new").exists() == bool(kept)
    assert sorted(path.name for path in out.glob("*")) == names
    message = capsys.readouterr().err
    assert all(name in message for name in names)
    assert len(message.splitlines()) == 1


def test_failed_reproduce_keeps_folders_that_existed(tmp_path):
    out = tmp_path / "results"
    out.mkdir()
    words = ["reproduce", "--quick", "--quiet", "--font", "No Such Face", "--out"]
    assert main([*words, str(out)]) == 1
    assert main([*words, str(tmp_path / "other")]) == 1
    assert list(tmp_path.iterdir()) == [out]


def test_help_is_printed_without_a_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert "first steps:" in captured.out
    assert not captured.err


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self):
        return True


def read_screen(text):
    """Return the lines that a terminal shows after a text with carriage returns."""
    screen = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        screen.append(shown.rstrip())
    return screen


def test_messages_do_not_share_a_line_with_progress_bars(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    for log in (
        make_printer(SimpleNamespace(quiet=False)),
        *(signature(f).parameters["log"].default for f in (reproduce_paper, make_table)),
    ):
        terminal.truncate(terminal.seek(0))
        with tqdm(total=9, desc="learn", leave=False, file=terminal) as bar:
            bar.update()
            bar.refresh()
            log("a message")
        assert "learn: " in terminal.getvalue()
        assert "a message" in read_screen(terminal.getvalue())
        assert not read_screen(terminal.getvalue())[-1]


UNUSED = {
    "labels without a driver": (["fit", "{data}", "--labels", "{y}", "-o", "m"], "--ordinal"),
    "labels of digits": (["fit", "digits", "--labels", "{y}", "--ordinal", "-o", "m"], "--labels"),
    "resume without a file": (["fit", "{data}", "--resume", "-o", "m"], "--checkpoint"),
    "recall in a table": (
        ["encode", "{model}", "digits", "--recall", "printed", "-o", "c.csv"], "--recall"),
    "recall in an array": (
        ["encode", "{model}", "digits", "--recall", "printed", "-o", "c.npy"], "--recall"),
    "tolerance of spikes": (
        ["encode", "{model}", "digits", "--neuron", "spiking", "--tol", "1e-3", "-o", "c.npz"],
        "--tol"),
    "step of rate neurons": (["encode", "{model}", "digits", "--dt", "1", "-o", "c.npz"], "--dt"),
    "seed of a model": (["simulate", "{model}", "--seed", "1"], "--seed"),
    "weights of an unknown modality": (
        ["fit", "{data}", "--weights", "sound=2", "-o", "m"], "sound"),
    "contrast of one modality": (["fit", "{data}", "--contrast", "-o", "m"], "contrast"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSED)
def test_option_without_effect_is_rejected(case, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(8))
    np.save("y.npy", np.arange(8))
    words, message = UNUSED[case]
    paths = {"{model}": str(model), "{data}": "x.npy", "{y}": "y.npy"}
    assert message in read_error([paths.get(word, word) for word in words], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "y.npy"]


def test_fit_options_reach_the_estimator(tmp_path):
    rng, out = np.random.default_rng(0), str(tmp_path / "m")
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(40, 5)))
    words = ["fit", f"a={tmp_path}/a.npy", f"b={tmp_path}/b.npy", "--neurons", "6", "--quiet"]
    options = ["--two-sided", "--weights", "a=0.5", "b=2", "--epochs", "4", "--batch-size", "20"]
    assert main([*words, *options, "--contrast", "-o", out]) == 0
    fitted = load(out)
    assert fitted.two_sided
    assert fitted.weights == {"a": 0.5, "b": 2.0}
    assert fitted.contrast == Contrast()
    assert (fitted.transform(rng.normal(size=(40, 5))) < 0).any()


def test_spiking_codes_do_not_depend_on_batches(model, tmp_path, monkeypatch):
    data, codes = tmp_path / "x.npy", []
    np.save(data, read_rows("digits")[:20])
    rows = read_rows(str(data))
    for batch in (20, 7):
        monkeypatch.setattr("spikelca.cli.encode.BATCH_ROWS", batch)
        out = tmp_path / f"{batch}.npz"
        words = ["encode", str(model), str(data), "--neuron", "spiking", "--quiet"]
        assert main([*words, "-o", str(out)]) == 0
        with np.load(out) as arrays:
            assert set(arrays) >= {"code", "residual"}
            codes.append(arrays["code"])
    circuit = inference_circuit(load(model)).replace(neuron=SpikingNeuron())
    response = circuit.simulate({"handwritten": rows}, 20 * SpikingNeuron().tau)
    np.testing.assert_allclose(codes[0], response.code, atol=0.02)  # steps differ by rounding
    assert np.array_equal(codes[1], codes[0])
    words += ["--dt", "1e-4", "-o", str(tmp_path / "c.npy")]
    assert main(words) == 0
    response = circuit.simulate({"handwritten": rows}, 20 * SpikingNeuron().tau, 1e-4)
    np.testing.assert_allclose(np.load(tmp_path / "c.npy"), response.code, atol=1e-12)


def test_codes_are_written_as_npy(model, tmp_path):
    assert main(["encode", str(model), "digits", "--quiet", "-o", str(tmp_path / "c.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), load(model).transform(read_rows("digits")))


def test_blank_image_is_simulated(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((1, 64)))
    words = ["simulate", str(model), str(tmp_path / "x.npy"), "--duration", "0.05"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "0 of 30 neurons active" in output
    assert "energy 0.000000, that of the steady-state code" in output


@pytest.mark.parametrize("words", [["--duration", "0"], ["--dt", "1"], ["--dt", "-1"]])
def test_times_are_checked_before_learning(words, monkeypatch, capsys):
    monkeypatch.setattr("spikelca.cli.simulate.fit_default_model", None)
    assert words[0].strip("-") in read_error(["simulate", *words], capsys)


def test_info_lists_arrays_of_a_file(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", code=np.zeros((3, 4)), labels=np.array(["a", "b"]))
    assert main(["info", f"{tmp_path}/a.npz"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"code +shape \(3, 4\), dtype float64", output)
    assert re.search(r"labels +shape \(2,\), dtype <U1", output)


def test_missing_font_names_few_fonts(capsys):
    message = read_error(["reproduce", "--font", "DejaVu Sanz", "--out", "none"], capsys)
    assert "DejaVu Sans" in message
    assert len(message) < 400


DOCUMENTED = [
    (path.name, line)
    for path in [*(Path(__file__).parent.parent / "docs").rglob("*.md"), Path("README.md")]
    if path.is_file() and path.name != "changes.md"
    for line in re.findall(r"^ *spikelca (\w.*?)(?: {2,}.*| #.*)?$", path.read_text("utf-8"), re.M)
]


def test_documented_commands_are_valid():
    from spikelca.cli import make_parser

    assert len(DOCUMENTED) > 10
    for _, line in DOCUMENTED:
        make_parser().parse_args(shlex.split(line))


CALLBACK_INTERRUPT = """
import ctypes, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from spikelca.cli import main
from spikelca.cli import info

def run(arguments):
    called_from_c = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))
    called_from_c()
    time.sleep(60)

info.run = run
sys.exit(main(["info", "any"]))
"""


def test_interrupt_in_a_c_callback_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", CALLBACK_INTERRUPT],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "spikelca: interrupted"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return quick_results(tmp_path_factory) / "report.html"


def test_report_is_self_contained(report):
    text = report.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 7
    assert " ".join(["spikelca", *WORDS]) in text
    assert "numba" in text
    assert "batch_size" in text
    external = re.findall(r"(?:src|href)=[\"'](?!data:)", text)
    assert not external
    assert "@import" not in text


def test_values_in_the_report_are_escaped():
    results = {"data": "<b>", "font": "&", "rows": [], "settings": {}, "versions": {}}
    text = render_html(results, "<i>", "spikelca <script>", [])
    assert "<b>" not in text
    assert "<script>" not in text


def test_browser_opens_the_report(report, tmp_path):
    browser = which("chromium") or which("chromium-browser") or which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", f"--user-data-dir={tmp_path}",
    ]  # fmt: skip
    done = subprocess.run(
        [browser, *options, "--virtual-time-budget=5000", "--dump-dom", report.as_uri()],
        capture_output=True, text=True, timeout=HANGS, check=True,
    )  # fmt: skip
    assert done.stdout.count("<figure>") == 7
    assert 'id="table"' in done.stdout
    screenshot = tmp_path / "page.png"
    subprocess.run(
        [browser, *options, f"--screenshot={screenshot}", "--window-size=1000,1400",
         report.as_uri()],
        capture_output=True, timeout=HANGS, check=True,
    )  # fmt: skip
    assert screenshot.stat().st_size > 20_000
