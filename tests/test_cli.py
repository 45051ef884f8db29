"""Command line: inputs, outputs, messages and exit codes."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from quickly import HANGS, WORDS, quick_results
from sklearn.preprocessing import normalize

from spikelca import load
from spikelca.cli import main
from spikelca.cli.common import inference_circuit
from spikelca.cli.files import read_rows
from spikelca.experiments.report import render_html
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
        (["encode", "{model}", "digits", "-o", "c.txt"], "'.npz', '.csv'"),
        (["encode", "{model}", "{text}", "-o", "c.npz"], "NumPy"),
        (["encode", "{model}", "{narrow}", "-o", "c.npz"], "64 columns"),
        (["encode", "{text}", "digits", "-o", "c.npz"], "a.npy"),
        (["simulate", "{model}", "--image", "900"], "0 to 499"),
        (["simulate", "{model}", "--dt", "1"], "dt"),
        (["simulate", "{model}", "--plot", "x.gif"], "'.png'"),
        (["info", "nothing.npz"], "nothing.npz"),
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
    assert run.returncode == 1, output
    assert output.strip().endswith("spikelca: interrupted")
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert read_checkpoint(checkpoint)


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
    assert done.returncode == 1, done.stderr
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
