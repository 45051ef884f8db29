"""Neo: every spike and every trace in its place, there and back, through a file, for Elephant."""

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


def simulated(neuron=SPIKING, record=("spikes", "u"), **options):
    kept = {name: options.pop(name) for name in ("every", "neurons", "samples") if name in options}
    circuit = random_circuit(neuron, **options)
    return circuit.simulate(random_stimuli(circuit, 3), 0.05, DT, record=record, **kept)


def test_each_sample_is_a_segment_and_each_cell_a_train_silent_ones_too():
    run = simulated()
    block = to_neo(run)
    assert [segment.annotations["sample"] for segment in block.segments] == [0, 1, 2]
    counts = run.spikes.counts(3, 11)
    assert (counts == 0).any()
    for sample, segment in enumerate(block.segments):
        assert [train.annotations["neuron"] for train in segment.spiketrains] == list(range(11))
        assert [len(train) for train in segment.spiketrains] == counts[sample].tolist()


def test_times_have_units_and_stand_at_the_start_of_their_step():
    run = simulated()
    train = max(to_neo(run).segments[1].spiketrains, key=len)
    mine = (run.spikes.sample == 1) & (run.spikes.neuron == train.annotations["neuron"])
    assert train.units.dimensionality.string == "s"
    np.testing.assert_array_equal(train.magnitude, run.spikes.step[mine] * DT)
    assert (float(train.t_start), float(train.t_stop)) == (0.0, 0.05)
    assert float(train.sampling_rate.rescale("Hz")) == pytest.approx(1 / DT)


def test_traces_are_signals_with_their_sampling_and_the_names_of_their_channels():
    run = simulated(every=5, neurons=[2, 7, 8], samples=[0, 2])
    block = to_neo(run, neurons=[2, 7, 8], samples=[0, 2])
    assert [len(segment.analogsignals) for segment in block.segments] == [1, 0, 1]
    (u,) = block.segments[2].analogsignals
    assert (u.name, u.dimensionality.string) == ("u", "dimensionless")
    assert float(u.sampling_period.rescale("s")) == pytest.approx(5 * DT)
    assert u.array_annotations["neuron"].tolist() == [2, 7, 8]
    np.testing.assert_array_equal(u.magnitude, run.traces["u"][:, 1])
    np.testing.assert_allclose(u.times.rescale("s").magnitude, run.times, atol=1e-12)


def test_a_rate_circuit_has_traces_and_no_trains():
    run = simulated(RATE, ("a", "r"), wiring="residual")
    segment = to_neo(run).segments[0]
    assert len(segment.spiketrains) == 0
    assert {s.name: s.shape[1] for s in segment.analogsignals} == {"a": 11, "r:a": 9, "r:b": 5}
    assert segment.analogsignals[1].array_annotations["input"].tolist() == list(range(9))


def test_the_halves_of_a_signed_pair_are_told_by_their_sign():
    run = simulated(transfer=SoftThreshold(0.1, two_sided=True))
    segment = to_neo(run).segments[0]
    assert len(segment.spiketrains) == 22
    told = segment.spiketrains[13].annotations
    assert (told["neuron"], told["sign"], told["cell"]) == (2, -1, 13)
    assert segment.analogsignals[0].array_annotations["sign"].tolist() == [1] * 11 + [-1] * 11


def same_spikes(block, run):
    spikes, clock = from_neo(block)
    assert clock == run.clock
    for found, awaited in zip(spikes, run.spikes, strict=True):
        np.testing.assert_array_equal(found, awaited)


def test_the_spikes_come_back_as_they_were():
    for run in (simulated(), simulated(transfer=SoftThreshold(0.1, two_sided=True))):
        assert len(run.spikes) > 20
        same_spikes(to_neo(run), run)


def test_a_file_of_nix_keeps_every_spike_every_trace_and_every_name(tmp_path):
    pytest.importorskip("nixio", reason="needs nixio, which comes with the extra test")
    run, path = simulated(), str(tmp_path / "run.nix")
    with neo.io.NixIO(path, mode="ow") as file:
        file.write_block(to_neo(run))
    with neo.io.NixIO(path, mode="ro") as file:
        block = file.read_block()
    same_spikes(block, run)
    for sample, segment in enumerate(block.segments):
        (u,) = segment.analogsignals
        np.testing.assert_array_equal(u.magnitude, run.traces["u"][:, sample])
        assert u.array_annotations["neuron"].tolist() == list(range(11))
    assert block.annotations["quantum"] == run.quantum


def test_the_mean_rate_of_elephant_is_ours():
    statistics = pytest.importorskip("elephant.statistics", reason="needs elephant")
    import quantities as pq

    run = simulated()
    from_here = run.clock.window_start(run.window) * DT * pq.s
    theirs = np.zeros((3, 11))  # Elephant has no rate for an empty train
    for sample, segment in enumerate(to_neo(run).segments):
        for cell, train in enumerate(segment.spiketrains):
            if len(train):
                rate = statistics.mean_firing_rate(train, from_here, train.t_stop)
                theirs[sample, cell] = rate.rescale("Hz")
    assert run.rates().max() > 0
    np.testing.assert_allclose(theirs, run.rates(), rtol=1e-12)


def test_what_cannot_be_told_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"neither spikes nor traces; simulate with record="):
        to_neo(replace(simulated(), spikes=None, traces={}))
    with pytest.raises(ValueError, match=r"trace of 'u'.*\(3, 1\).*Hand the samples= and neurons="):
        to_neo(simulated(neurons=[4]))
    with pytest.raises(ValueError, match="to_neo has made"):
        from_neo(neo.Block())


def test_spikes_beside_the_grid_and_trains_of_others_are_refused():
    block = to_neo(simulated())
    train = max(block.segments[0].spiketrains, key=len)
    train[0] = train[0] + 0.4 * DT * train.units
    with pytest.raises(ValueError, match="beside the steps"):
        from_neo(block)
    train.annotations.clear()
    with pytest.raises(ValueError, match="without sample and cell"):
        from_neo(block)


def test_without_neo_one_sentence_says_how_to_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "neo", None)
    with pytest.raises(ImportError, match=r"^neo is required .*: pip install 'spikelca\[neo\]'$"):
        to_neo(simulated())
