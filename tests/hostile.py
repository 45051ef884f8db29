"""Malicious model files: valid digests, invalid content."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
import zlib

from spikelca.modelfile import zip_format as layout


def repacked(data, change, arrays=None):
    """The file with a changed manifest and valid digests, as an attacker could write it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        bodies = {n: archive.read(n) for n in archive.namelist()[1:]}
    change(manifest)
    raw = json.dumps(manifest).encode()
    members = {"manifest.json": raw, **bodies, **(arrays or {})}
    return packed(members, raw)


def packed(members, manifest):
    out, written = b"", []
    for name, body in members.items():
        written.append(layout.WrittenEntry(name, len(body), zlib.crc32(body), len(out)))
        out += layout.header(name, len(body), zlib.crc32(body)) + body
    return out + layout.directory(written, hashlib.sha256(manifest).hexdigest())


def put(path, value):
    """A function that replaces the entry at a path of the manifest."""

    def change(manifest):
        *parents, last = path
        for key in parents:
            manifest = manifest[key]
        if parents == ["arrays", ATOMS]:
            assert manifest["name"] == "circuit.dictionaries.0.atoms"
        manifest[last] = value

    return change


M = ("model", "model")
ATOMS = 1  # index of the first atoms; the array of a driver's waveform has index 0
HOSTILE = {
    "a newer schema": (put(["schema"], 4), "schema version 4.*Update spikelca"),
    "no schema": (put(["schema"], None), "schema version .* got None"),
    "a schema before the first": (put(["schema"], 0), "schema version .* got 0"),
    "a schema that is true": (put(["schema"], True), "schema version .* got True"),
    "another format": (put(["format"], "pickle"), "format"),
    "an additional entry": (put(["code"], "print(1)"), "entries"),
    "an unknown kind": (put(["model", "kind"], "os.system"), "'os.system'"),
    "a kind that is a list": (put(["model", "kind"], []), "one of"),
    "a checkpoint": (put(["model", "kind"], "checkpoint"), "resume=True"),
    "a class of another package": (put([*M, "neuron", "value"], "subprocess.Popen"), "Popen"),
    "a class of another field": (
        put([*M, "neuron"], {"value": "Fade", "fields": {"floor": 0, "until": 1}}),
        "neuron must be RateNeuron or SpikingNeuron, got Fade",
    ),
    "an additional field": (put([*M, "neuron", "fields", "x"], 1), "entries"),
    "a field of another type": (put([*M, "neuron", "fields", "tau"], "1"), "int or float"),
    "a field out of range": (put([*M, "neuron", "fields", "tau"], -1), "> 0"),
    "a true for a number": (put([*M, "neuron", "fields", "tau"], True), "int or float"),
    "an unknown wiring": (put([*M, "wiring"], "wireless"), "wiring"),
    "a wiring that is a map": (put([*M, "wiring"], {}), "wiring"),
    "no dictionaries": (put([*M, "dictionaries"], []), "dictionary"),
    "a weight of zero": (put([*M, "dictionaries", 0, "weight"], 0.0), "weight"),
    "a duplicate name": (put([*M, "dictionaries", 1, "name"], "../a\u00e9 b"), "names"),
    "a driver too large": (
        put([*M, "drivers", "tuple", 0, "fields", "n_classes"], 10**30),
        "neurons",
    ),
    "a driver of a missing neuron": (
        put([*M, "drivers", "tuple", 1, "fields", "neurons"], {"tuple": [99]}),
        "99",
    ),
    "a missing learning rule": (put([*M, "dictionaries", 0, "plasticity"], None), None),
    "an array of another dtype": (put([*M, "dictionaries", 0, "atoms"], {"array": "O"}), "array"),
    "a missing array": (
        put([*M, "neuron", "fields", "tau"], {"array": "float64"}),
        "no array",
    ),
    "a pickled dtype": (put(["arrays", ATOMS, "dtype"], "|O"), "dtype"),
    "a dtype that is a list": (put(["arrays", ATOMS, "dtype"], [["f", "<f4"]]), "dtype"),
    "a path outside the archive": (put(["arrays", ATOMS, "name"], "../../etc/passwd"), "named"),
    "an absolute path": (put(["arrays", ATOMS, "name"], "/tmp/x"), "named"),
    "a duplicate array": (
        put(["arrays", ATOMS + 1, "name"], "circuit.dictionaries.0.atoms"),
        "two arrays of one name",
    ),
    "a huge shape": (put(["arrays", ATOMS, "shape"], [2**31, 2**31]), "shape"),
    "the largest allowed shape": (put(["arrays", ATOMS, "shape"], [2**31]), "bytes"),
    "a shape with 400 digits": (put(["arrays", ATOMS, "shape"], [10**400]), "shape"),
    "a negative shape": (put(["arrays", ATOMS, "shape"], [-6, -4]), "shape"),
    "a shape of floats": (put(["arrays", ATOMS, "shape"], [6.0, 4]), "shape"),
    "a shape with swapped axes": (put(["arrays", ATOMS, "shape"], [4, 6]), "header"),
    "a digest of other data": (put(["arrays", ATOMS, "sha256"], "0" * 64), "SHA-256"),
    "too many arrays": (put(["arrays"], [{}] * 2000), "list of at most"),
}


def _manifest_only(manifest):
    return packed({"manifest.json": manifest}, manifest)


def zip_tricks(data):
    """The same members in zip files that are written in other ways."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}

    def rezip(compression=zipfile.ZIP_STORED, extra=()):
        out = io.BytesIO()
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w") as archive:
            for name, body in [*members.items(), *extra]:
                archive.writestr(zipfile.ZipInfo(name), body, compression)
        return out.getvalue()

    end = data.rindex(b"PK\x05\x06")
    zip64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 6, 6, 100, 2**60)
    return {
        "rezipped": rezip(),
        "compressed": rezip(zipfile.ZIP_DEFLATED),
        "a duplicate member": rezip(extra=list(members.items())[-1:]),
        "an additional member": rezip(extra=[("../../evil", b"x")]),
        "a pickle": rezip(extra=[("data.pkl", b"cos\nsystem\n(S'true'\ntR.")]),
        "bytes before it": b"#!/bin/sh\n" + data,
        "bytes after it": data + b"\0",
        "two of them": data + data,
        "a zip64 record": data[:end] + zip64 + data[end:],
        "no directory": data[: data.index(b"PK\x01\x02")],
        "half of it": data[: len(data) // 2],
        "nothing": b"",
        "one byte": b"P",
        "a huge manifest": data[:18] + b"\xff\xff\xff\x7f" * 2 + data[26:],
        "deep nesting": _manifest_only(b"[" * 900_000),
        "many numbers": _manifest_only(b"[" + b"{}," * 300_000 + b"{}]"),
        "a duplicate name in the manifest": _manifest_only(b'{"a":1,"a":2}'),
        "a NaN in the manifest": _manifest_only(b"NaN"),
        "a pickle alone": b"\x80\x04\x95",
    }  # fmt: skip
