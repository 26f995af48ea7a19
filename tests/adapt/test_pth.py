"""PyTorch's files of weights: read as PyTorch reads them, and nothing in them is ever called."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from jaxai.adapt import pth
from jaxai.core.errors import InputError


def archive(tree) -> bytes:
    """A file in the form of the zip archive, whose pickle holds `tree`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("archive/data.pkl", pickle.dumps(tree, protocol=2))
    return file.getvalue()


def stream(tree) -> bytes:
    """The same in the form of the older stream of pickles."""
    return b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}, tree, []))


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"weight": Call(os.system, "touch hostile")}, "would call posix.system"),
        ({"weight": Call(eval, "1")}, "would call __builtin__.eval"),
        (Call(os.mkdir, "hostile"), "would call posix.mkdir"),
        ({"weight": 3}, "holds a dictionary with 'weight', not tensors by name"),
        ([1, 2], "holds no dictionary"),
        ({"state_dict": OrderedDict(a=1.5)}, "holds a dictionary with 'a'"),
    ],
    ids=["system", "eval", "bare call", "a number", "a list", "numbers inside"],
)
def test_what_no_weights_need_is_refused(tree, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for form in (archive, stream):
        with pytest.raises(InputError, match=r"^evil\.pth: ") as error:
            pth.read(form(tree), "evil.pth")
        assert says in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not weights at all", bytes(100)], ids=repr)
def test_what_is_no_file_of_weights_is_one_line(content):
    with pytest.raises(InputError, match=r"^x\.pth: cannot be read as PyTorch weights"):
        pth.read(content, "x.pth")


def tensors():
    import torch

    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(4, 6, generator=generator)
    return {
        "whole": whole,
        "transposed": whole.T,
        "slice": whole[1:3, ::2],
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "bool": whole > 0,
        "bytes": (whole * 50).to(torch.uint8),
        "parameter": torch.nn.Parameter(whole),
    }


@pytest.mark.oracle
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("wrap", [False, True], ids=["bare", "checkpoint"])
def test_tensors_are_pytorchs(new_format, wrap):
    import torch

    given = tensors()
    file = io.BytesIO()
    saved = {"state_dict": OrderedDict(given), "epoch": 3, "best": 0.5, "args": ["x", None, True]} if wrap else given
    torch.save(saved, file, _use_new_zipfile_serialization=new_format)
    found = pth.read(file.getvalue(), "x.pth")
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        expected = tensor.detach().float().numpy()
        np.testing.assert_array_equal(found[name].astype(np.float32), expected, err_msg=name)
        assert found[name].dtype.name == str(tensor.dtype).removeprefix("torch."), name


@pytest.mark.oracle
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "stream"])
def test_a_pickled_module_is_refused_and_a_torn_file_is_one_line(new_format):
    import torch

    file = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), file, _use_new_zipfile_serialization=new_format)
    with pytest.raises(InputError, match="only weights are read"):
        pth.read(file.getvalue(), "x.pth")
    file = io.BytesIO()
    torch.save(tensors(), file, _use_new_zipfile_serialization=new_format)
    content = file.getvalue()
    for length in range(0, len(content) - 1, len(content) // 40):
        with pytest.raises(InputError, match=r"^x\.pth: "):
            pth.read(content[:length], "x.pth")
