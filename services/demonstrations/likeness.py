"""How alike texts are, by the measure that a run wants."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from services.demonstrations.embeddings import Embeddings
from services.demonstrations.similarity import alike
from services.errors import ConfigurationError


class SimilarityBy(StrEnum):
    NGRAMS = "ngrams"  # what is written
    EMBEDDINGS = "embeddings"  # what is meant, as a server's model sees it


class Likeness:
    def __init__(self, embeddings: Embeddings | None = None) -> None:
        self._embeddings = embeddings

    async def of(self, by: SimilarityBy, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Raises ModelError of the server's, ConfigurationError where there is none."""
        if by is SimilarityBy.NGRAMS or not pairs:
            return [alike(one, other) for one, other in pairs]
        if self._embeddings is None:
            raise ConfigurationError(NO_EMBEDDINGS)
        return await self._embeddings.alike(pairs)


NO_EMBEDDINGS = (
    "similarity by embeddings needs a server of them: set LRGD_EMBEDDINGS_URL and "
    "LRGD_EMBEDDINGS_MODEL, or start the run with similarity_by ngrams"
)
