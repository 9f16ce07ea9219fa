"""`threshold:` of an experiment, a number or how it is found, validated before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from bench.errors import UserError, in_yaml, nearest, problem_text, quoted
from bench.records import BestCriterion, RateCriterion, ThresholdRule
from bench.results.limits import Number

RATES, BEST = get_args(RateCriterion), get_args(BestCriterion)
EXAMPLES = "0.5, {fpr: 0.01} or {best: f1}"

Rate = Annotated[Number, Field(gt=0, lt=1)]


class ThresholdSettings(BaseModel):
    """Instead of a number: how the threshold is found on the baseline's validation frames. One of these keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fpr: Rate | None = Field(
        default=None,
        description="most of the real validation frames that the baseline may call fake, a share",
    )
    fnr: Rate | None = Field(
        default=None, description="most of the fake validation frames that the baseline may call real, a share"
    )
    best: BestCriterion | None = Field(
        default=None,
        description="where the baseline is best on the validation frames; `youden` is recall + specificity. "
        "`precision` and `recall` look at one kind of error alone",
    )

    @field_validator("best", mode="before")
    @classmethod
    def _checked_word(cls, best: object) -> object:
        if best is not None and best not in BEST:
            raise ValueError(
                f"must be one of {', '.join(BEST)}; found {in_yaml(best)}"
                f"{nearest(best, BEST) if isinstance(best, str) else ''}"
            )
        return best

    @model_validator(mode="after")
    def _one_rule(self) -> ThresholdSettings:
        given = [name for name in (*RATES, "best") if getattr(self, name) is not None]
        if len(given) != 1:
            named = " and ".join(f"`{name}`" for name in given) or "none of fpr, fnr and best"
            raise ValueError(f"found {named}; give one of them, such as {EXAMPLES}")
        return self

    @property
    def rule(self) -> ThresholdRule:
        if self.best is not None:
            return ThresholdRule(self.best)
        return ThresholdRule("fpr", self.fpr) if self.fpr is not None else ThresholdRule("fnr", self.fnr)


_NUMBER: TypeAdapter[float] = TypeAdapter(Rate)
_NO_NUMBER = ("greater_than", "less_than", "float_parsing", "float_type", "finite_number")


def _number_or_rule(value: object) -> float | ThresholdSettings:
    """A number, or a rule from a mapping; pydantic collects what is wrong with either."""
    if isinstance(value, ThresholdSettings):
        return value
    if isinstance(value, Mapping):
        return ThresholdSettings.model_validate(value)
    if isinstance(value, str) and value.strip().casefold() in (*RATES, *BEST):
        word = value.strip().casefold()
        raise ValueError(f"found {in_yaml(value)}; write {{{f'{word}: 0.01' if word in RATES else f'best: {word}'}}}")
    return _NUMBER.validate_python(value)


Threshold: TypeAlias = Annotated[
    float | ThresholdSettings, PlainValidator(_number_or_rule, json_schema_input_type=Rate | ThresholdSettings)
]
_THRESHOLD: TypeAdapter[float | ThresholdSettings] = TypeAdapter(Threshold)


def from_option(name: str, given: object) -> float | ThresholdRule:
    """A threshold as an option has it: a number or a mapping, or text such as "0.5", "fpr=0.01" and "best=f1".

    Raises `UserError` with all that is wrong, which names the option.
    """
    value = _parsed(given) if isinstance(given, str) else given
    if isinstance(value, str) and (word := value.casefold()) in (*RATES, *BEST):
        example = f"{word}=0.01" if word in RATES else f"best={word}"
        raise UserError(f"{name}: found {quoted(value)}; write {example}")
    try:
        threshold = _THRESHOLD.validate_python(value)
    except ValidationError as error:
        raise UserError(*(f"{name}: {_problem(problem)}" for problem in error.errors())) from None
    return threshold if isinstance(threshold, float) else threshold.rule


def _parsed(text: str) -> object:
    """The text as a number or as a mapping of a key to one, where it is that."""
    key, sign, value = (part.strip() for part in text.partition("="))
    return {key: _as_number(value)} if sign else _as_number(key)


def _as_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _problem(problem: Mapping[str, Any]) -> str:
    """One of pydantic's problems, with the key that it is about."""
    key = problem["loc"][-1] if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        keys = (*RATES, "best")
        return f"unknown {quoted(key)}{nearest(str(key), keys)}; keys here are: {', '.join(keys)}"
    text = problem_text(problem)
    if problem["type"] in _NO_NUMBER:
        text = f"expected a number above 0 and below 1, found {quoted(problem['input'])}"
    return f"{key}: {text}" if key else text
