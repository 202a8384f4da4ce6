"""The rows of the tables: which method each is, how it is asked, and whether it is fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lab.evaluation.methods import METHODS, MethodName, as_given, written
from services.prompts import TemplateName
from services.ranking import Method


@dataclass(frozen=True)
class Row:
    """`fused`: with the co-visitation prior, its weight fitted on the validation file. `asked`: in
    which way, where it is not that of the whole table."""

    method: MethodName
    fused: bool = False
    asked: Callable[[Method], Method] = as_given

    @property
    def asks(self) -> bool:
        return METHODS[self.method].asks is not None

    @property
    def varies(self) -> bool:
        """With who is asked about, or with a seed: others rank a user whoever is beside them."""
        return self.asks or self.fused


def _in(template: TemplateName) -> Callable[[Method], Method]:
    return lambda method: replace(method, form=replace(method.form, template=template))


def _unregularized(method: Method) -> Method:
    listed = written(method)
    return replace(listed, form=replace(listed.form, regularization=None))


_ABLATIONS = (
    MethodName.PDO1,
    MethodName.PDO2,
    MethodName.REVEALS_VALIDATION,
    MethodName.WHOLE_STEP,
)
_ALONE = (
    MethodName.POPULARITY,
    MethodName.COVISIT,
    MethodName.EASE,
    MethodName.ITEMKNN,
    MethodName.BPRMF,
    MethodName.GRU4REC,
    MethodName.SASREC,
    MethodName.HGN,
    MethodName.SRGNN,
    MethodName.FDSA,
)
_ASKING = tuple(
    name
    for name in MethodName
    if METHODS[name].asks and not METHODS[name].fused and name not in _ABLATIONS
)

RANDOM = "random"
_COMPARED: Mapping[str, Row] = {
    **{name.value: Row(name) for name in _ALONE},
    "sasrec_fused": Row(MethodName.SASREC_FUSED, fused=True),
    **{name.value: Row(name) for name in _ASKING},
    **{f"{name}_fused": Row(name, fused=True) for name in _ASKING},
}
_ABLATED: Mapping[str, Row] = {
    **{name.value: Row(name) for name in _ABLATIONS},
    "lrgd_paper": Row(MethodName.LRGD, asked=_in(TemplateName.PAPER)),
    "lrgd_inv": Row(MethodName.LRGD, asked=_in(TemplateName.INV)),
    "lrgd_written": Row(MethodName.LRGD, asked=written),
    "lrgd_unregularized": Row(MethodName.LRGD, asked=_unregularized),
}
ROWS: Mapping[str, Row] = {**_COMPARED, **_ABLATED}

TABLE2 = tuple(_COMPARED)
TABLE4 = ("zero_shot", "generated", "best_of_n", "lrgd", "zero_shot_fused", "lrgd_fused")
TABLE5 = ("zero_shot", "lrgd", *_ABLATED)
