"""How names and numbers are written."""

from __future__ import annotations

import pytest

from spark_shap.report.words import (
    clean,
    number,
    percent,
    plain,
    probability,
    segment_name,
    segment_title,
    short,
    signed,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.09938, "0.0994"),
        (-0.5, "\u22120.500"),
        (0.0, "0"),
        (1234.5, "1,234"),
        (12_345_678.0, "1.23e+07"),
        (3.2e-7, "3.20e-07"),
        (float("nan"), "\u2013"),
        (None, "\u2013"),
        (0.999999, "1.000"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_signed_and_plain() -> None:
    assert [signed(value) for value in (0.25, -0.25, 0.0)] == ["+0.250", "\u22120.250", "0"]
    assert [plain(value) for value in (24.0, 1990, -3, 0.125, "A14", True, None, float("nan"))] == [
        "24",
        "1,990",
        "\u22123",
        "0.125",
        "A14",
        "True",
        "",
        "",
    ]


def test_percent_is_neither_nothing_nor_all_unless_it_is() -> None:
    assert [percent(value) for value in (0.0, 0.001, 0.5, 0.999, 1.0)] == ["0 %", "<1 %", "50 %", ">99 %", "100 %"]
    assert [probability(value) for value in (1e-9, 0.0312, None)] == ["<0.001", "0.031", "\u2013"]


def test_what_cannot_be_shown_is_marked() -> None:
    assert clean("a\tb\nc\x00\u202edcba") == "a b c��dcba"
    assert clean(" 95\u00a0%  of") == "95\u00a0% of"
    assert clean("収入 🙂 ü <b>") == "収入 🙂 ü <b>"
    assert short("x" * 40, 10) == "x" * 9 + "…"
    assert short("収入" * 9, 10) == "収入収入…"
    assert short("収入収入収", 10) == "収入収入収"


def test_segments_are_called_by_all_their_values() -> None:
    assert segment_name("north", "region") == "north"
    assert segment_name(None, "region") == "(no value)"
    assert segment_name('["a, b", null]', "region, side") == "a, b · (no value)"
    assert segment_name("", "region") == '""'
    assert segment_title("north", "region") == "region: north"
    assert segment_title('["a", null]', "region, side") == "region: a · side: (no value)"
    assert segment_title('["a · b", "c"]', "region, side") == "a · b · c"
