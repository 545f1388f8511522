"""Words as labels: whole numbers, numbers or text, and nothing rounded or infinite in silence."""

import math

import pytest

from xgan_jax.data.columns import is_value, read_column


def column(*words: str):
    return read_column("age", {f"{i}.png": word for i, word in enumerate(words)})


@pytest.mark.parametrize(
    ("words", "kind", "values"),
    [
        (["1", "-1", "+07"], "int64", [1, -1, 7]),
        (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
        (["1.5", ".5", "2", "1e3"], "float32", [1.5, 0.5, 2.0, 1000.0]),
        (["a", "b", ""], "text", ["a", "b", ""]),
        (["", ""], "text", ["", ""]),
        (["1_0", "2_0"], "text", ["1_0", "2_0"]),  # no number but for Python
        (["nan", "black"], "text", ["nan", "black"]),
        (["True", "False"], "text", ["True", "False"]),
    ],
)
def test_kinds(words, kind, values):
    assert column(*words) == (kind, values, "")


@pytest.mark.parametrize("unknown", ["", "nan", "NaN"])
def test_unknown_numbers(unknown):
    kind, values, note = column("1", unknown, "16777216")
    assert (
        kind == "float32" and values[0] == 1.0 and math.isnan(values[1]) and values[2] == 2**24 and not note
    )


@pytest.mark.parametrize(
    "words", [["9223372036854775808", "1"], ["16777217", ""], ["16777217", "0.5"], ["9" * 400, "0.5"]]
)
def test_what_would_be_rounded_stays_text(words):
    kind, values, note = column(*words)
    assert (kind, values) == ("text", words)
    assert note == f"the label age is kept as text, for {words[0]} would be rounded as a number"


def test_a_word_among_numbers_is_named():
    kind, values, note = column("1", "2", "old", "4")
    assert (kind, values) == ("text", ["1", "2", "old", "4"])
    assert note == "the label age is read as text: 3 of its 4 values are numbers, but '2.png' has 'old'"


def test_commas_that_may_be_anything_are_named():
    for words in (["0,5", "1,5"], ["1,234", "987"], ["1,234,567", ""], [",5", "7,"]):
        kind, _, note = column(*words)
        assert kind == "text" and "read as text, for the comma that '0.png' has" in note
    assert column("1,234", "a") == ("text", ["1,234", "a"], "")


@pytest.mark.parametrize("word", ["inf", "-Infinity", "1e39"])
def test_the_infinite_is_refused(word):
    with pytest.raises(ValueError, match=r"the label age of '1.png' is '.*', which is infinite"):
        column("0.5", word)


def test_values_as_people_write_them():
    assert is_value(-1, "-1") and is_value(1, "+1") and is_value(1, "1.0") and not is_value(1, "one")
    assert is_value(2**53 + 1, str(2**53 + 1)) and not is_value(2**53 + 1, str(2**53))
    assert is_value(0.1, "0.1") and is_value("é", "e\u0301 ") and is_value("é".encode(), "é")
    assert not is_value("1", "1.0")


@pytest.mark.parametrize("twin", ["Black hair", "black  hair", "black\u00a0hair", "black\u200b hair"])
def test_words_that_look_alike_are_named(twin):
    kind, values, note = column("black hair", "red", twin)
    assert (kind, values) == ("text", ["black hair", "red", twin])
    assert note == (
        f"the label age has words that differ only by letter case or blanks, 'black hair' and {twin!r} for "
        "one: each is a class of its own"
    )
