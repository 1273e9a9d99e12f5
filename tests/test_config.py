from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.config import (
    apply_settings,
    digest,
    flatten,
    from_dict,
    from_yaml,
    setting_names,
    suggest,
    to_dict,
    to_yaml,
)
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = ()
    compile: Literal["auto", "yes", "no"] = "auto"
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise UserError(f"inner.rate must be 0 or more, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    spare: Inner | None = None
    overrides: dict[str, int] = field(default_factory=dict)


INNERS = st.builds(
    Inner,
    rate=st.floats(0, 1e6),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    compile=st.sampled_from(["auto", "yes", "no"]),
    scale=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
OUTERS = st.builds(
    Outer,
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    inner=INNERS,
    spare=st.none() | INNERS,
    overrides=st.dictionaries(st.sampled_from(["a", "b"]), st.integers()),
)


@given(config=OUTERS)
@settings(deadline=None, max_examples=50)
def test_yaml_and_plain_data_are_exact_round_trips(config):
    assert from_dict(Outer, to_dict(config), "here") == config
    assert from_yaml(Outer, to_yaml(config), "here") == config


def test_yaml_reads_as_a_person_would_write_it():
    text = "name: x\ninner:\n  rate: 1e-4\n  compile: 'no'\n  sizes: [1, 2]\n"
    assert from_yaml(Outer, text, "here") == Outer(
        name="x", inner=Inner(rate=1e-4, compile="no", sizes=(1, 2))
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\ninner: {rat: 1}",
            r"run.yaml: unknown setting 'inner.rat'; did you mean 'inner.rate'",
        ),
        ("name: x\nnama: 1", r"unknown setting 'nama'; did you mean 'name'"),
        ("name: x\nzzzz: {q: 1}", r"unknown setting 'zzzz.q'$"),
        ("name: x\ninner: {rate: fast}", r"run.yaml: setting 'inner.rate': .*number.*, got 'fast'"),
        ("name: x\ninner: {compile: no}", r"setting 'inner.compile': .*'yes' or 'no', got False"),
        ("name: x\ninner: {rate: -1}", r"inner.rate must be 0 or more, got -1"),
        ("inner: {rate: 1}", r"setting 'name': Field required"),
        ("- 1\n- 2", r"run.yaml: expected settings as a YAML mapping, got list"),
        ("", r"expected settings as a YAML mapping, got NoneType"),
        ("name: [x", r"run.yaml: this is not YAML: "),
    ],
)
def test_mistakes_are_named_with_their_place(text, message):
    with pytest.raises(UserError, match=message):
        from_yaml(Outer, text, "run.yaml")


def test_unknown_settings_of_an_optional_part_are_found():
    with pytest.raises(UserError, match=r"unknown setting 'spare.rte'; did you mean 'spare.rate'"):
        from_dict(Outer, {"name": "x", "spare": {"rte": 1}}, "here")


def test_flatten_joins_keys_with_dots():
    nested = {"a": {"b": 1, "c": {"d": 2}}, "e": 3, "f": {}}
    assert flatten(nested) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_digest_depends_on_content_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}) != digest({"a": 1.5})
    base = Outer(name="x")
    assert digest(to_dict(base)) != digest(to_dict(replace(base, name="y")))
    assert len(digest("ü")) == 64


def test_suggest_names_the_nearest_or_nothing():
    assert suggest("epoch", ["epochs", "seed"]) == "; did you mean 'epochs'?"
    assert suggest("zzz", ["epochs", "seed"]) == ""


@dataclass(frozen=True, kw_only=True)
class Either:
    epochs: float | None = 30.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UserError(f"give epochs or steps, got {self.epochs} and {self.steps}")


@dataclass(frozen=True, kw_only=True)
class Whole:
    length: Either = field(default_factory=Either)
    outer: Outer | None = None
    title: str = "t"


@pytest.mark.parametrize("order", [("length.epochs", "length.steps"), ("length.steps", "title")])
def test_settings_that_must_agree_change_together(order):
    values = {"length.epochs": None, "length.steps": 7, "title": "new"}
    chosen = {name: values[name] for name in (*order, *values)}  # in any order
    changed = apply_settings(Whole(), chosen, "here")
    assert changed == Whole(length=Either(epochs=None, steps=7), title="new")
    assert apply_settings(changed, {}, "here") == changed


def test_parts_that_are_left_out_begin_with_their_defaults():
    changed = apply_settings(
        Whole(), {"outer.spare.rate": 2, "outer.inner.scale": (0.5, 1), "outer.name": "x"}, "here"
    )
    inner = Inner(scale=(0.5, 1.0))
    assert changed.outer == Outer(name="x", inner=inner, spare=Inner(rate=2.0))
    assert changed.length == Either()
    assert "outer.spare.rate" in setting_names(Whole)
    assert "outer" not in setting_names(Whole)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"length.epoch": 3},
            r"^the rule: unknown setting 'length\.epoch'; did you mean 'length\.epochs'\?$",
        ),
        ({"zzzzzz": 3}, r"^the rule: unknown setting 'zzzzzz'$"),
        ({"length": {"epochs": 3}}, r"^the rule: unknown setting 'length'"),
        ({"length.steps": 3}, r"^the rule: give epochs or steps, got 30\.0 and 3$"),
        ({"length.epochs": "many"}, r"^the rule: setting 'length\.epochs': .*got 'many'$"),
        ({"outer.inner.rate": -1, "outer.name": "x"}, r"^the rule: inner\.rate must be 0 or more"),
        ({"outer.inner.rate": 1}, r"^the rule: setting 'outer\.name': Field required"),
    ],
)
def test_settings_that_are_unknown_or_wrong_are_told_with_whose_they_are(chosen, message):
    with pytest.raises(UserError, match=message):
        apply_settings(Whole(), chosen, "the rule")


@given(config=OUTERS, rate=st.floats(0, 1e6))
@settings(deadline=None, max_examples=50)
def test_applied_settings_change_nothing_else(config, rate):
    changed = apply_settings(config, {"inner.rate": rate}, "here")
    assert changed == replace(config, inner=replace(config.inner, rate=rate))
