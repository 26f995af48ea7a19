"""Every way to be parallel gives the numbers of one device."""

from __future__ import annotations

import pytest

ON_8 = ["PMap(devices=1)", "PMap(devices=2)", "PMap()", "Mesh()", "Mesh(data=2, fsdp=4)", "Mesh(data=1, fsdp=8)"]


@pytest.mark.slow
def test_all_layouts_give_the_losses_of_one_device(run_apart):
    specs = [{"parallel": parallel, "model": "conv", "steps": 8} for parallel in ON_8]
    one, *others = run_apart(*specs, devices=8)
    assert one["losses"][-1] < one["losses"][0]
    for parallel, other in zip(ON_8[1:], others, strict=True):
        assert other["losses"] == pytest.approx(one["losses"], rel=1e-4), parallel
        assert other["norm"] == pytest.approx(one["norm"], rel=1e-5), parallel


@pytest.mark.slow
def test_batchnorm_sees_the_local_batch_under_pmap_and_the_global_one_under_mesh(run_apart):
    specs = [{"parallel": p, "model": "batchnorm", "steps": 3} for p in ("PMap(devices=1)", "Mesh()", "PMap()")]
    one, mesh, pmap = run_apart(*specs, devices=8)
    assert mesh["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert abs(pmap["losses"][0] - one["losses"][0]) > 1e-3


@pytest.mark.slow
def test_accumulation_on_several_devices_equals_the_large_batch(run_apart):
    specs = [
        {"parallel": p, "model": "conv", "steps": 4, "fields": {"accumulate": k}}
        for p in ("PMap()", "Mesh(data=2, fsdp=2)")
        for k in (1, 3)
    ]
    one, *others = run_apart(*specs, devices=4)
    for other in others:
        assert other["losses"] == pytest.approx(one["losses"], rel=2e-5)
