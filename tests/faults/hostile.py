"""Checkpoints that an attacker wrote, seals and all.

A case changes the one saved step of a good run; `secret` is a folder outside whose files no reader may open.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from jaxai.training import seal

from .planting import (
    ARRAY,
    Plant,
    both,
    close,
    edit_json,
    files,
    header,
    link,
    make_socket,
    noted,
    pickled,
    put,
    sealed,
    special,
    typed,
)

CASES: dict[str, Plant] = {}
"""What each case does to the folder of a step, by name."""


def add(name: str, plant: Plant, *, sealed: bool = True) -> None:
    """A case; sealed unless `plant` itself does so."""

    def whole(step: Path, secret: Path) -> None:
        plant(step, secret)
        if sealed:
            close(step)

    CASES[name] = whole


CHUNK, HEADER, NOTES = f"state/{ARRAY}/0.0", f"state/{ARRAY}/.zarray", "state/_METADATA"
DEEP = "[" * 200_000
BOMB = b'{"a": [' + b"[]," * 35_000_000 + b"[]]}"
NOT_TEXT = b'{"\xff\xfe": 1}'

# Out of the folder.
add("part is a link", link(CHUNK, "part"))
add("header is a link", link(HEADER, "header"))
add("array is a link", link(f"state/{ARRAY}", "array"))
add("state is a link", link("state", "step/state"))
add("step is a link", lambda step, secret: link("", "step")(step, secret), sealed=False)
add("seal is a link", lambda step, secret: link(seal.NAME, "step/seal.json")(step, secret), sealed=False)
add("notes are a link", link(NOTES, "step/state/_METADATA"))
add("data is a link", link("data/metadata", "step/data/metadata"))
add("array_metadatas is a link", link("state/array_metadatas", "step/state/array_metadatas"))
add("link in a loop", special(CHUNK, lambda path: path.symlink_to(path)), sealed=False)
add("seal names ..", files(lambda listed, secret: listed.update({"../../../secret/part": [512, ""]})), sealed=False)
add("seal names absolute", files(lambda listed, secret: listed.update({f"{secret}/part": [512, ""]})), sealed=False)
add("notes lead out by ..", noted("../../../../secret/array"))
add("notes lead out, absolute", lambda step, secret: noted(f"{secret}/array")(step, secret))
add("notes lead out in params", noted("ema", "../../../../../secret/array"))
add("notes lead out by an empty folder", both(
    lambda step, secret: (step / "state" / "ema.").mkdir(), noted("ema", "/../../../../../secret/array")))  # fmt: skip

# What blocks, or has no end.
add("part is a pipe", special(CHUNK, os.mkfifo))
add("header is a pipe", special(HEADER, os.mkfifo))
add("seal is a pipe", special(seal.NAME, os.mkfifo), sealed=False)
add("part is a socket", special(CHUNK, make_socket))
add("header is /dev/zero", special(HEADER, lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))))
add("notes are /dev/zero", special(NOTES, lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))))

# Headers that lie.
for label, changes in {
    "10^13 in one part": {"shape": [10**13, 8], "chunks": [10**13, 8]},
    "10^13 in parts of one": {"shape": [10**13, 8], "chunks": [1, 1]},
    "product past 64 bits": {"shape": [2**62, 2**62], "chunks": [1, 1]},
    "numbers of 4000 digits": {"shape": [10**4000, 10**4000], "chunks": [1, 1]},
    "rank 100,000": {"shape": [1] * 100_000, "chunks": [1] * 100_000},
    "rank 40": {"shape": [1] * 40, "chunks": [1] * 40},
    "negative": {"shape": [-16, -8]},
    "float": {"shape": [16.0, 8]},
    "bool": {"shape": [True, 8], "chunks": [True, 8]},
    "nested": {"shape": [[16], 8]},
    "text": {"shape": "ab"},
    "NaN": {"shape": [float("nan"), 8]},
    "null": {"shape": None},
    "transposed": {"shape": [8, 16], "chunks": [8, 16]},
    "parts of zero": {"chunks": [0, 8]},
    "parts too small": {"chunks": [1, 8]},
    "parts too large": {"chunks": [10**12, 8]},
    "gzip": {"compressor": {"id": "gzip", "level": 1}},
    "blosc": {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    "filters": {"filters": [{"id": "delta", "dtype": "<f4"}]},
    "objects": {"dtype": "|O"},
    "structured": {"dtype": [["a", "<f4"], ["b", "|O"]]},
    "1 MB of void": {"dtype": "|V1000000"},
    "texts": {"dtype": "<U1000000"},
    "big-endian": {"dtype": ">f4"},
    "other float": {"dtype": "<f8", "shape": [8, 8], "chunks": [8, 8]},
    "columns first": {"order": "F"},
    "parts in folders": {"dimension_separator": "/"},
    "format 3": {"zarr_format": 3},
    "fill value of text": {"fill_value": "x" * 100},
}.items():  # fmt: skip
    add(f"header: {label}", header(**changes))
add("part is missing", lambda step, secret: (step / CHUNK).unlink())
add("part too many", put(f"state/{ARRAY}/0.1", bytes(512)))
add("part twice, one missing", both(
    header(chunks=[8, 8]), put(CHUNK, bytes(256)), put(f"state/{ARRAY}/00.0", bytes(256))))  # fmt: skip
add("array too many", lambda step, secret: shutil.copytree(step / f"state/{ARRAY}", step / "state/ema.more"))
add("array is missing", lambda step, secret: shutil.rmtree(step / f"state/{ARRAY}"))
add("zarr 3 array", put(f"state/{ARRAY}/zarr.json", '{"zarr_format": 3, "node_type": "array"}'))

# Text that is no small JSON object.
for label, name in {"header": HEADER, "notes": NOTES, "meta": "meta/metadata", "data": "data/metadata"}.items():
    add(f"{label}: nested", put(name, DEEP))
    add(f"{label}: 100 MB", put(name, BOMB))
    add(f"{label}: not UTF-8", put(name, NOT_TEXT))
    add(f"{label}: a list", put(name, "[1, 2]"))
for label, content in {"nested": DEEP, "100 MB": BOMB, "not UTF-8": NOT_TEXT, "a list": "[]", "empty": ""}.items():
    add(f"seal: {label}", put(seal.NAME, content), sealed=False)
nest: Any = []
for _ in range(900):
    nest = [nest]
add("seal: half as deep", sealed(extra=nest), sealed=False)


def million_names(step: Path, secret: Path) -> None:
    listed = {n: [1, ""] for n in range(1_000_000)}
    put(seal.NAME, json.dumps({"sha256": "", "seal": {"files": listed}}))(step, secret)


add("seal: 200,000 names", lambda step, secret: sealed(
    files={f"{n:x}": [1, ""] for n in range(200_000)})(step, secret), sealed=False)  # fmt: skip
add("seal: a million names", million_names, sealed=False)
add("seal: files a list", sealed(files=[1, 2]), sealed=False)
add("seal: files of text", sealed(files={"a": "b"}), sealed=False)
add("seal: infinite size", files(lambda listed, secret: listed.update({CHUNK: [float("inf"), ""]})), sealed=False)
add("seal: negative size", files(lambda listed, secret: listed.update({CHUNK: [-1, ""]})), sealed=False)
add("seal: infinite position", sealed(position=float("inf")), sealed=False)
add("seal: step of text", sealed(step="3\n" + "x" * 10**6), sealed=False)
add("seal: not finite", sealed(finite="yes"), sealed=False)

# Code.
add("pickle as part", both(pickled(CHUNK), header(dtype="|O", filters=[{"id": "pickle"}])))
add("pickle as notes", pickled(NOTES))
add("pickle as meta", pickled("meta/metadata"))
add("pickle beside", pickled("state/checkpoint.pkl"))

# Orbax's other forms, and its notes.
add("OCDBT beside", both(put("state/manifest.ocdbt", b"\x0c\xdb\x3a\x2a" + bytes(60))))
add("OCDBT of a process", put("state/ocdbt.process_0/manifest.ocdbt", b"\x0c\xdb\x3a\x2a" + bytes(60)))
add("notes: OCDBT", edit_json(NOTES, lambda data: data.update(use_ocdbt=True)))
add("notes: zarr 3", edit_json(NOTES, lambda data: data.update(use_zarr3=True)))
add("notes: one array more", noted("ema", "ghost"))
add("notes: no tree", edit_json(NOTES, lambda data: data.update(tree_metadata={})))
add("notes: tree a list", edit_json(NOTES, lambda data: data.update(tree_metadata=[1])))
for kind in ("string", "scalar", "np.ndarray", "None", "Dict", "os.system", "jaxlib._jax.ArrayImpl"):
    add(f"notes: typed {kind}", typed(kind))
add("handlers: others", edit_json("_CHECKPOINT_METADATA", lambda data: data.update(
    item_handlers={"state": "os.system", "data": "builtins.eval", "meta": "pickle.loads"})))  # fmt: skip
add("handlers: garbage", put("_CHECKPOINT_METADATA", NOT_TEXT))
add("handlers: a list", put("_CHECKPOINT_METADATA", "[1]"))
add("sharding: garbage", put("state/_sharding", NOT_TEXT))
add("array_metadatas: garbage", put("state/array_metadatas/process_0", NOT_TEXT))

# What the loop goes by.
for label, name, value in [
    ("position negative", "data", {"position": -12}),
    ("position of text", "data", {"position": "x"}),
    ("position infinite", "data", {"position": float("inf")}),
    ("position a fraction", "data", {"position": 36.5}),
    ("position past 64 bits", "data", {"position": 2**80}),
    ("position not the seal's", "data", {"position": 48}),
    ("fingerprint a list", "data", {"fingerprint": [1, 2]}),
    ("history of text", "meta", {"history": "garbage"}),
    ("history of numbers", "meta", {"history": [1, 2]}),
    ("history without values", "meta", {"history": [{"step": 1}]}),
    ("history of values of text", "meta", {"history": [{"step": 3, "values": {"test/loss": "x"}}]}),
    ("interval too short", "meta", {"interval": [1.0]}),
    ("interval of text", "meta", {"interval": ["a", "b"]}),
    ("interval nested", "meta", {"interval": [[1.0]]}),
    ("seconds of text", "meta", {"seconds": "x"}),
    ("seconds a list", "meta", {"seconds": [1]}),
    ("times of text", "meta", {"times": "x"}),
    ("times a list", "meta", {"times": {"data": [1]}}),
]:
    add(f"{name}: {label}", edit_json(f"{name}/metadata", lambda data, value=value: data.update(value)))
negative = edit_json("data/metadata", lambda data: data.update(position=-12))
add("data: position negative, sealed", both(negative, sealed(position=-12)), sealed=False)
