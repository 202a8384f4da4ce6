"""Ranking: candidates in the order a language model prefers them (stage 2 of the method)."""

from __future__ import annotations

from services.ranking.fingerprint import EvaluationFingerprint
from services.ranking.fusion import fused
from services.ranking.ranker import Ranked, Ranker
from services.ranking.ranking import Candidate, Method, Ranking, RankingRequest, in_order
from services.ranking.written import Written

__all__ = [
    "Candidate",
    "EvaluationFingerprint",
    "Method",
    "Ranked",
    "Ranker",
    "Ranking",
    "RankingRequest",
    "Written",
    "fused",
    "in_order",
]
