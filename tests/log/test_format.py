import math

import pytest

from jaxai.log import format


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (0.9, "0.9000"),
        (0.98765, "0.9877"),
        (12.3456, "12.35"),
        (-0.5, "-0.5000"),
        (999.96, "1,000"),
        (1234.5, "1,234"),
        (9999.9, "10.00k"),
        (12345.6, "12.35k"),
        (123456.0, "123.5k"),
        (999999.0, "1.000M"),
        (1234567.0, "1.235M"),
        (2.5e13, "25.00T"),
        (1e30, "1e+30"),
        (0.00012, "0.00012"),
        (1.23456e-5, "1.235e-05"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_four_significant_digits(number, text):
    assert format.significant(number) == text


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("loss", 0.5, "0.5000"),
        ("learning_rate", 0.001, "0.001"),
        ("data_wait", 0.034, "3%"),
        ("data_wait", math.nan, "nan"),
        ("examples_per_second", 12345.6, "12.35k"),
        ("train_seconds", 75.0, "1:15"),
        ("right", 123456, "123,456"),
    ],
)
def test_a_metric_is_written_by_its_name(name, number, text):
    assert format.value(name, number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.254, "0.25 s"), (12.34, "12.3 s"), (59.96, "1:00"), (245, "4:05"), (3599.7, "1:00:00"), (93784, "1d 02:03")],
)
def test_durations(seconds, text):
    assert format.duration(seconds) == text


def test_labels_read_as_words():
    assert format.label("examples_per_second") == "examples/s"
    assert format.label("gradient_norm") == "gradient norm"
