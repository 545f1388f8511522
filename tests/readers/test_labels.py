"""Labels of different collections, in the same words."""

import numpy as np

from xgan_jax.readers.labels import read_attributes, translated_numbers


def test_columns_with_few_values_are_attributes() -> None:
    columns = {
        "file_name": [f"{i % 3}.png" for i in range(60)],
        "hair": ["blonde hair", "black", "grey"] * 20,
        "age": [float(i % 2) for i in range(60)],
        "person": [str(i) for i in range(60)],
        "constant": ["x"] * 60,
        "Male": [1, -1] * 30,
    }
    found = read_attributes(columns)
    assert set(found) == {"hair", "Male"}
    assert found["hair"].values == ("black", "blond", "gray")
    assert found["hair"].numbers.tolist() == [1, 0, 2] * 20


def test_rare_and_missing_values_are_unknown() -> None:
    columns = {"eyes": ["blue"] * 20 + ["green"] * 20 + ["", "pink"], "labelled": [1] * 39 + [0, 1, 1]}
    eyes = read_attributes(columns)["eyes"]
    assert eyes.values == ("blue", "green")
    assert eyes.numbers.tolist() == [0] * 20 + [1] * 19 + [-1] * 3


def test_celebas_hair_is_one_attribute() -> None:
    rows = [(1, -1, -1, -1), (-1, 1, -1, -1), (1, 1, -1, -1), (-1, -1, -1, -1)] * 10
    names = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    columns["Eyeglasses"] = [1, -1, -1, -1] * 10
    found = read_attributes(columns)
    assert set(found) == {"hair", "glasses"}
    assert found["hair"].values == ("black", "blond")
    assert found["hair"].numbers.tolist() == [0, 1, -1, -1] * 10
    assert [found["glasses"].values[n] for n in found["glasses"].numbers[:4]] == ["yes", "no", "no", "no"]


def test_numbers_in_anothers_order() -> None:
    eyes = read_attributes({"eyes": ["blue", "green", "red", ""] * 10})["eyes"]
    np.testing.assert_array_equal(translated_numbers(eyes, ["red", "blue"])[:4], [1, -1, 0, -1])
