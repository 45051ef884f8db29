"""The command line: what it reads, what it writes, and what it says when it cannot."""

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
    data, out = tmp_path / "x.npy", tmp_path / "out.npz"
    np.save(data, rows)
    seen = rows if option else rows / np.linalg.norm(rows, axis=1, keepdims=True)
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


def failing(words, capsys):
    """The one line in which a command says why it failed."""
    assert main(words) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert said.count(f"spikelca {command}") >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_the_help_is_understood(command, capsys):
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
    """All options of all commands, by the words that set them."""
    from spikelca.cli import make_parser

    (commands,) = (a for a in make_parser()._actions if hasattr(a.choices, "items"))
    return {
        (command, action.option_strings[-1]): action
        for command, parser in commands.choices.items()
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    }


def test_defaults_are_those_of_the_help():
    said = {key: re.search(r"\bdefault ([\w./-]+)", o.help or "") for key, o in options().items()}
    assert sum(found is not None for found in said.values()) > 15
    for key, found in said.items():
        default = options()[key].default
        default = default[0] if isinstance(default, list) else default
        if found and default is not None:
            word = found[1].rstrip("/")
            assert word == default if isinstance(default, str) else float(word) == default, key


def test_options_take_what_their_metavar_names():
    types = {"N": int, "LAM": float, "S": float, "MODEL": Path}
    for key, option in options().items():
        assert option.type is types.get(option.metavar, option.type), key
        if isinstance(option.default, int | float) and option.nargs != 0:
            assert option.type is type(option.default), key
        assert option.default is False or option.nargs != 0, key  # a switch is off


def test_an_unknown_choice_is_wrong_usage(capsys):
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


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    heavy = {"numpy", "scipy", "numba", "sklearn", "matplotlib", "brian2", "PIL", "pandas", "dask"}
    assert "usage: spikelca" in done.stdout
    assert heavy & set(done.stderr.split()) == {"numpy"}


def test_a_fitted_model_codes_images_with_their_certificates(model, tmp_path, capsys):
    out = tmp_path / "codes.npz"
    words = ["encode", str(model), "digits", "--recall", "printed", "-o", str(out)]
    assert main(words) == 0
    assert "500 codes" in capsys.readouterr().out
    with np.load(out) as found:
        assert found["code"].shape == (500, 30)
        assert found["recalled_printed"].shape == (500, 64)
        assert found["gap"].max() <= 1.5e-4


def test_the_printed_certificate_is_the_one_written(model, tmp_path, capsys):
    from spikelca import HardThreshold, load, save

    hard, out = tmp_path / "hard.spikelca", tmp_path / "codes.npz"
    circuit = load(model).circuit_.observe("handwritten")
    save(circuit.replace(transfer=HardThreshold(0.2)), hard)
    for path, name in ((model, "gap"), (hard, "residual")):
        assert main(["encode", str(path), "digits", "--tol", "1e-3", "-o", str(out)]) == 0
        said = capsys.readouterr().out
        with np.load(out) as found:
            largest = {
                key: f"{found[key].max():.1e}" for key in ("gap", "residual") if key in found
            }
            active = np.count_nonzero(found["code"], axis=1).mean()
        assert re.findall(r"largest (.*); written", said) == [f"{name} {largest[name]}"]
        assert len(set(largest.values())) == len(largest)
        assert f"{active:.1f} of 30 neurons active" in said


def test_the_codes_are_those_of_the_library(model, tmp_path):
    from spikelca import load

    out = tmp_path / "codes.npz"
    assert main(["encode", str(model), "digits", "--quiet", "-o", str(out)]) == 0
    with np.load(out) as found:
        assert np.array_equal(found["code"], load(model).transform(read_rows("digits")))


def test_the_same_seed_learns_the_same_model(tmp_path):
    atoms = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / name
        words = ["fit", "digits", "--neurons", "20", "--epochs", "1", "--quiet"]
        assert main([*words, "--seed", str(seed), "-o", str(path)]) == 0
        from spikelca import load

        atoms.append(load(path).components_)
    assert np.array_equal(atoms[0], atoms[1])
    assert not np.array_equal(atoms[0], atoms[2])


def test_two_modalities_of_your_own_are_linked_and_ordered(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.random((60, 9)))
    np.savez(tmp_path / "b.npz", other=rng.random((60, 2)), spectra=rng.random((60, 4)))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    out = tmp_path / "model"
    words = [
        "fit",
        f"seen={tmp_path}/a.npy",
        f"heard={tmp_path}/b.npz:spectra",
        "--observe",
        "seen",
    ]
    more = ["--labels", f"{tmp_path}/y.npy", "--ordinal", "--neurons", "12", "--epochs", "1"]
    assert main([*words, *more, "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    said = capsys.readouterr().out
    assert "modality seen" in said
    assert "modality heard" in said
    assert "OrdinalDriver(n_classes=3" in said


def _as_idx(images):
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *images.shape)
    return header + images.astype(np.uint8).tobytes()


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "idx3-ubyte"])
def test_images_are_read_from_every_kind_of_file(ending, tmp_path):
    images = np.random.default_rng(0).integers(1, 255, (5, 3, 4)).astype(np.uint8)
    path = tmp_path / f"images.{ending}"
    if ending == "npy":
        np.save(path, images)
    elif ending == "npz":
        np.savez(path, images)
    elif ending == "csv":
        np.savetxt(path, images.reshape(5, 12), delimiter=",")
    else:
        path.write_bytes(_as_idx(images))
    rows = read_rows(str(path))
    awaited = images.reshape(5, 12) / np.linalg.norm(images.reshape(5, 12), axis=1, keepdims=True)
    assert np.allclose(rows, awaited, atol=1e-6)


def test_codes_can_be_read_as_a_table(model, tmp_path):
    out = tmp_path / "codes.csv"
    assert main(["encode", str(model), "digits", "--quiet", "-o", str(out)]) == 0
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("code0,code1,")
    assert len(lines) == 501
    assert read_rows(str(out), scale=False).shape == (500, 30)


@pytest.mark.parametrize("neuron", ["rate", "spiking"])
def test_one_image_is_simulated_and_drawn(neuron, model, tmp_path, capsys):
    plot, out = tmp_path / "run.png", tmp_path / "run.npz"
    words = ["simulate", str(model), "--image", "3", "--neuron", neuron, "--duration", "0.05"]
    assert main([*words, "--plot", str(plot), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert ("spikes" in said) == (neuron == "spiking")
    assert plot.read_bytes().startswith(b"\x89PNG")
    with np.load(out) as found:
        assert found["u"].shape[1:] == (1, 30)
        assert ("spike_time" in found) == (neuron == "spiking")


def test_without_a_model_a_small_one_is_learned_first(tmp_path, capsys):
    plot = tmp_path / "membrane.png"
    assert main(["simulate", "--image", "3", "--duration", "0.05", "--plot", str(plot)]) == 0
    assert "no model named" in capsys.readouterr().out
    assert plot.is_file()


def test_quiet_says_nothing(model, tmp_path, capsys):
    out = str(tmp_path / "codes.npz")
    assert main(["encode", str(model), "digits", "--quiet", "-o", out]) == 0
    found = capsys.readouterr()
    assert found.out == found.err == ""


def test_info_tells_the_versions(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "numba" in said
    assert "cores" in said


def test_info_tells_the_shape_of_an_array(tmp_path, capsys):
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
def test_what_fails_says_why_in_one_line_and_writes_nothing(
    words, message, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_text("no numbers")
    np.save(tmp_path / "narrow.npy", np.ones((2, 5)))
    before = set(tmp_path.iterdir())
    places = {"{model}": str(model), "{text}": "a.npy", "{narrow}": "narrow.npy"}
    assert message in failing([places.get(word, word) for word in words], capsys)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [[], ["fit"], ["encode", "m"], ["simulate", "--image", "x"]])
def test_wrong_usage_ends_with_two(words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


LEARNING = """
import signal, sys
from spikelca.learning.checkpoint import Checkpoint
from spikelca.cli import main

def after(checkpoint, mark):
    print("learning", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
Checkpoint.write_if_due = after
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_leaves_no_half_written_file(tmp_path):
    mark, out = tmp_path / "checkpoint", tmp_path / "model.spikelca"
    words = ["fit", "digits", "--neurons", "20", "--epochs", "100000", "--quiet"]
    words += ["--checkpoint", str(mark), "-o", str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", LEARNING, *words], stdout=pipe, stderr=pipe, text=True
    ) as run:
        try:
            assert run.stdout.readline() == "learning\n"
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=HANGS)
        finally:
            run.kill()
    assert run.returncode == 1, said
    assert said.strip().endswith("spikelca: interrupted")
    assert list(tmp_path.iterdir()) == [mark]
    assert read_checkpoint(mark)


LOST = """
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


def test_an_interrupt_that_falls_into_a_callback_of_c_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip() == "spikelca: interrupted"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return quick_results(tmp_path_factory) / "report.html"


def test_the_report_holds_everything_and_asks_for_nothing(report):
    text = report.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 7
    assert " ".join(["spikelca", *WORDS]) in text
    assert "numba" in text
    assert "batch_size" in text
    outside = re.findall(r"(?:src|href)=[\"'](?!data:)", text)
    assert not outside
    assert "@import" not in text


def test_what_is_told_in_the_report_cannot_become_markup():
    found = {"data": "<b>", "font": "&", "rows": [], "settings": {}, "versions": {}}
    text = render_html(found, "<i>", "spikelca <script>", [])
    assert "<b>" not in text
    assert "<script>" not in text


def test_a_browser_opens_the_report(report, tmp_path):
    browser = which("chromium") or which("chromium-browser") or which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine; install it to look at the report in a browser")
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
    shot = tmp_path / "page.png"
    subprocess.run(
        [browser, *options, f"--screenshot={shot}", "--window-size=1000,1400", report.as_uri()],
        capture_output=True, timeout=HANGS, check=True,
    )  # fmt: skip
    assert shot.stat().st_size > 20_000
