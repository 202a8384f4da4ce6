"""SQL of demonstrations as they are served."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.demonstrations.models import StoredDemonstration, StoredVariant, Switch
from services.demonstrations.variant import ServedVariant

_CURRENT, _PERTURBATION = aliased(StoredDemonstration), aliased(StoredDemonstration)


def variants_with_texts(user_id: str) -> Select[StoredVariant, str, str | None]:
    """A user's variants with X_D_curr, and X_D_per or none. Zero-shot has no text: it is left
    out."""
    return (
        select(StoredVariant, _CURRENT.text, _PERTURBATION.text)
        .join(_CURRENT, _CURRENT.demonstration_id == StoredVariant.current_id)
        .outerjoin(_PERTURBATION, _PERTURBATION.demonstration_id == StoredVariant.perturbation_id)
        .where(StoredVariant.user_id == user_id)
    )


class DemonstrationsRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def served(self, user_id: str) -> tuple[int, Sequence[ServedVariant]]:
        """How often what is served to the user has changed, and what may be served: the variant
        that is switched on, and the best of each path."""
        newest = await self.newest_switch(user_id)
        if newest is None:
            return 0, ()
        rows = await self.session.execute(
            variants_with_texts(user_id)
            .where(or_(StoredVariant.incumbent, StoredVariant.variant_id == newest.variant_id))
            .order_by(StoredVariant.path, StoredVariant.round_number)
        )
        return newest.number, [
            ServedVariant(
                variant_id=variant.variant_id,
                path=variant.path,
                round=variant.round_number,
                effect_d=variant.effect_d or 0.0,
                log_score=variant.log_score or 0.0,
                tokens=variant.tokens,
                current=text,
                perturbation=perturbing,
                active=variant.variant_id == newest.variant_id,
            )
            for variant, text, perturbing in rows
        ]

    async def newest_switch(self, user_id: str) -> Switch | None:
        return await self.session.scalar(
            select(Switch).where(Switch.user_id == user_id).order_by(Switch.number.desc()).limit(1)
        )
