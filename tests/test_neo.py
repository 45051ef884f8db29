"""Neo: spikes and traces in blocks, restored from blocks and files, and used by Elephant."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli

from spikelca import SoftThreshold
from spikelca.interop import from_neo, to_neo

neo = pytest.importorskip("neo", reason="needs the extra neo")

DT = 1e-4


def simulate(neuron=SPIKING, record=("spikes", "u"), **options):
    names = [name for name in ("every", "neurons", "samples") if name in options]
    recording = {name: options.pop(name) for name in names}
    circuit = random_circuit(neuron, **options)
    return circuit.simulate(random_stimuli(circuit, 3), 0.05, DT, record=record, **recording)


def test_segments_are_samples_and_trains_are_cells():
    run = simulate()
    block = to_neo(run)
    assert [segment.annotations["sample"] for segment in block.segments] == [0, 1, 2]
    counts = run.spikes.counts(3, 11)
    assert (counts == 0).any()
    for sample, segment in enumerate(block.segments):
        assert [train.annotations["neuron"] for train in segment.spiketrains] == list(range(11))
        assert [len(train) for train in segment.spiketrains] == counts[sample].tolist()


def test_spike_times_are_starts_of_steps():
    run = simulate()
    train = max(to_neo(run).segments[1].spiketrains, key=len)
    is_same = (run.spikes.sample == 1) & (run.spikes.neuron == train.annotations["neuron"])
    assert train.units.dimensionality.string == "s"
    np.testing.assert_array_equal(train.magnitude, run.spikes.step[is_same] * DT)
    assert (float(train.t_start), float(train.t_stop)) == (0.0, 0.05)
    assert float(train.sampling_rate.rescale("Hz")) == pytest.approx(1 / DT)


def test_traces_are_annotated_signals():
    run = simulate(every=5, neurons=[2, 7, 8], samples=[0, 2])
    block = to_neo(run, neurons=[2, 7, 8], samples=[0, 2])
    assert [len(segment.analogsignals) for segment in block.segments] == [1, 0, 1]
    (u,) = block.segments[2].analogsignals
    assert (u.name, u.dimensionality.string) == ("u", "dimensionless")
    assert float(u.sampling_period.rescale("s")) == pytest.approx(5 * DT)
    assert u.array_annotations["neuron"].tolist() == [2, 7, 8]
    np.testing.assert_array_equal(u.magnitude, run.traces["u"][:, 1])
    np.testing.assert_allclose(u.times.rescale("s").magnitude, run.times, atol=1e-12)


@pytest.mark.parametrize("every", [1, 7, 500])
def test_sampling_period_is_the_recording_interval(every):
    """Also of one recorded step, which has no next one."""
    run = simulate(every=every)
    assert len(run.times) == -(-500 // every)
    for segment in to_neo(run).segments:
        period = float(segment.analogsignals[0].sampling_period.rescale("s"))
        assert period == pytest.approx(every * DT)


@pytest.mark.parametrize("two_sided", [False, True])
def test_trains_are_those_of_recorded_cells(two_sided):
    run = simulate(transfer=SoftThreshold(0.1, two_sided), neurons=[8, 3], samples=[2, 0])
    trains = [segment.spiketrains for segment in to_neo(run).segments]
    cells = [3, 8, 14, 19] if two_sided else [3, 8]
    assert [[t.annotations["cell"] for t in each] for each in trains] == [cells, [], cells]
    assert sum(len(train) for each in trains for train in each) == len(run.spikes) > 0
    assert_same_spikes(to_neo(run), run)


def test_rate_circuit_has_signals_without_trains():
    run = simulate(RATE, ("a", "r"), wiring="residual")
    segment = to_neo(run).segments[0]
    assert len(segment.spiketrains) == 0
    assert {s.name: s.shape[1] for s in segment.analogsignals} == {"a": 11, "r:a": 9, "r:b": 5}
    assert segment.analogsignals[1].array_annotations["input"].tolist() == list(range(9))


def test_on_and_off_cells_have_signs():
    run = simulate(transfer=SoftThreshold(0.1, two_sided=True))
    segment = to_neo(run).segments[0]
    assert len(segment.spiketrains) == 22
    annotations = segment.spiketrains[13].annotations
    assert (annotations["neuron"], annotations["sign"], annotations["cell"]) == (2, -1, 13)
    assert segment.analogsignals[0].array_annotations["sign"].tolist() == [1] * 11 + [-1] * 11


def assert_same_spikes(block, run):
    spikes, clock = from_neo(block)
    assert clock == run.clock
    for array, expected in zip(spikes, run.spikes, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_spikes_are_restored():
    for run in (simulate(), simulate(transfer=SoftThreshold(0.1, two_sided=True))):
        assert len(run.spikes) > 20
        assert_same_spikes(to_neo(run), run)


def test_spike_train_needs_sample_and_cell_only():
    run = simulate()
    block = to_neo(run)
    for segment in block.segments:
        for train in segment.spiketrains:
            train.annotations = {name: train.annotations[name] for name in ("sample", "cell")}
    assert_same_spikes(block, run)


def test_nix_file_keeps_spikes_and_traces(tmp_path):
    pytest.importorskip("nixio", reason="needs nixio, which comes with the extra test")
    run, path = simulate(), str(tmp_path / "run.nix")
    with neo.io.NixIO(path, mode="ow") as file:
        file.write_block(to_neo(run))
    with neo.io.NixIO(path, mode="ro") as file:
        block = file.read_block()
    assert_same_spikes(block, run)
    for sample, segment in enumerate(block.segments):
        (u,) = segment.analogsignals
        np.testing.assert_array_equal(u.magnitude, run.traces["u"][:, sample])
        assert u.array_annotations["neuron"].tolist() == list(range(11))
    assert block.annotations["quantum"] == run.quantum


def test_rates_agree_with_elephant():
    statistics = pytest.importorskip("elephant.statistics", reason="needs elephant")
    import quantities as pq

    run = simulate()
    start = run.clock.window_start(run.window) * DT * pq.s
    rates = np.zeros((3, 11))  # Elephant has no rate for an empty train
    for sample, segment in enumerate(to_neo(run).segments):
        for cell, train in enumerate(segment.spiketrains):
            if len(train):
                rate = statistics.mean_firing_rate(train, start, train.t_stop)
                rates[sample, cell] = rate.rescale("Hz")
    assert run.rates().max() > 0
    np.testing.assert_allclose(rates, run.rates(), rtol=1e-12)


def test_unsupported_arguments_raise_with_remedy():
    with pytest.raises(ValueError, match=r"neither spikes nor traces\. Simulate with record="):
        to_neo(replace(simulate(), spikes=None, traces={}))
    with pytest.raises(ValueError, match=r"trace of 'u'.*\(3, 1\).*Pass the samples= and neurons="):
        to_neo(replace(simulate(neurons=[4]), neurons=None), neurons=[4, 5])
    with pytest.raises(ValueError, match=r"neurons must be those of the response, \[4\]"):
        to_neo(simulate(neurons=[4]), neurons=[5])
    with pytest.raises(ValueError, match=r"samples must be those of the response, \[2\]"):
        to_neo(simulate(samples=[2]), samples=[1])
    with pytest.raises(ValueError, match="must be from to_neo"):
        from_neo(neo.Block())


def test_invalid_spike_trains_raise():
    block = to_neo(simulate())
    train = max(block.segments[0].spiketrains, key=len)
    train[0] = train[0] + 0.4 * DT * train.units
    with pytest.raises(ValueError, match="multiples of the step"):
        from_neo(block)
    train.annotations.clear()
    with pytest.raises(ValueError, match="annotations sample and cell"):
        from_neo(block)


def test_missing_neo_raises_with_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "neo", None)
    with pytest.raises(ImportError, match=r"^neo is required .*: pip install 'spikelca\[neo\]'$"):
        to_neo(simulate())
