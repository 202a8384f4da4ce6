"""The one composition root: from settings to the object graph that every process works with."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import httpx2
from redis.asyncio import Redis

from services.access.keys import ApiKeys
from services.access.rate_limit import RateLimiter
from services.catalog.catalog import AfterCommit, Catalog, NothingFollows
from services.catalog.positives import PositiveEvents
from services.demonstrations.embeddings import Embeddings, EmbeddingsConfig
from services.demonstrations.likeness import Likeness
from services.demonstrations.versions import prompt_versions
from services.errors import ConfigurationError
from services.llm.card import expect_prompts, read_card
from services.llm.connection import ServerConfig
from services.llm.gate import GateLimits
from services.llm.measured import MeasuredModel
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.onnx.files import missing_files
from services.llm.port import LanguageModel
from services.llm.served import expect_loaded, expect_model
from services.llm.vllm import VllmModel
from services.observability.health import CHECK_SECONDS, Check, Health
from services.observability.logging import get_logger
from services.observability.metrics import Metrics
from services.observability.tracing import expect_tracing
from services.optimizer.asking import Asking
from services.optimizer.automatic import Automatic, AutomaticRounds
from services.optimizer.comparison import Comparisons
from services.optimizer.deletions import LedgerDeletions
from services.optimizer.learner import Learner
from services.optimizer.ledger import Ledger
from services.optimizer.material import Materials
from services.optimizer.regularizations import RegularizationInForce, Regularizations
from services.optimizer.rollback import Rollbacks
from services.optimizer.runner import RoundRunner
from services.prompts import Mode
from services.queue import Queue, make_celery
from services.ranking import Ranker
from services.recommendations.experiments import Experiments
from services.recommendations.following import Following
from services.recommendations.live_traffic import LiveTraffic
from services.recommendations.meeting import Meeting
from services.recommendations.outcomes import Outcomes
from services.recommendations.places import Places
from services.recommendations.policy import RankingPolicy
from services.recommendations.recommend import Recommender
from services.recommendations.replies import Replies
from services.recommendations.rerank import Reranker
from services.recommendations.served_prompt import ServedPrompts
from services.recommendations.user_states import UserStates
from services.retrieval.deletions import CovisitDeletions
from services.retrieval.index import CovisitIndex
from services.retrieval.known_items import KnownItems
from services.retrieval.popularity import Popularity
from services.retrieval.retrieval import Retrieval
from services.settings import PREFIX, SHIPPED_MODEL, Deployment, Settings
from services.storage.database import Database, open_database
from services.storage.redis import connect
from services.storage.unbroken import close_all
from services.storage.valkey import known_address

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RedisUrls:
    state: str
    broker: str


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    metrics: Metrics
    database: Database
    redis: Redis
    queue: Queue
    catalog: Catalog
    keys: ApiKeys
    rate_limiter: RateLimiter
    model: LanguageModel
    popularity: Popularity
    covisit_index: CovisitIndex
    retrieval: Retrieval
    replies: Replies
    experiments: Experiments
    recommender: Recommender
    reranker: Reranker
    prompts: ServedPrompts
    ledger: Ledger
    learner: Learner
    asking: Asking
    rollbacks: Rollbacks
    automatic: AutomaticRounds
    regularizations: Regularizations
    comparisons: Comparisons
    health: Health


def redis_urls(settings: Settings) -> RedisUrls:
    """The configured servers, or the Valkey that `lrgd up` runs on this data folder."""
    if settings.redis_url is not None and settings.broker_url is not None:
        return RedisUrls(
            settings.redis_url.get_secret_value(), settings.broker_url.get_secret_value()
        )
    address = known_address(settings.data_dir)
    if address is None:
        raise ConfigurationError(
            "no Redis: set LRGD_REDIS_URL and LRGD_BROKER_URL, or start `lrgd up` on this folder "
            f"({settings.data_dir})"
        )
    return RedisUrls(address.state_url, address.broker_url)


def refuse_to_start_if_wrong(settings: Settings) -> None:
    """What only the parts can judge, judged before a server begins to start them."""
    redis_urls(settings)
    PositiveEvents.parse(settings.positive_events)
    model_config(settings)
    expect_tracing(settings)


@contextlib.asynccontextmanager
async def open_catalog(settings: Settings) -> AsyncIterator[Catalog]:
    """The catalog alone, for commands that work beside a gateway or without one."""
    try:
        redis_urls(settings)
    except ConfigurationError:  # nobody listens: a worker refreshes what it derives as it starts
        async with contextlib.aclosing(open_database(settings)) as database:
            yield make_catalog(settings, database, NothingFollows())
        return
    async with open_services(settings, Metrics()) as services:
        yield services.catalog


def make_catalog(settings: Settings, database: Database, after: AfterCommit) -> Catalog:
    return Catalog(
        database,
        positives=PositiveEvents.parse(settings.positive_events),
        unknown_users=settings.unknown_users,
        unknown_items=settings.unknown_items,
        after=after,
        derived=[CovisitDeletions(), LedgerDeletions()],
    )


def model_config(settings: Settings) -> ServerConfig | OnnxConfig:
    """The configured server, or the embedded model, whose files and card are looked at: then
    ConfigurationError says what is wrong with them."""
    if settings.llm_url is not None and settings.llm_model is not None:
        key, most = settings.llm_api_key, settings.llm_in_flight
        return ServerConfig(
            settings.llm_url,
            settings.llm_model,
            api_key=None if key is None else key.get_secret_value(),
            weights=settings.llm_weights,
            dtype=settings.llm_dtype,
            connect_seconds=settings.llm_connect_seconds,
            probe_seconds=settings.llm_probe_seconds,
            gate=GateLimits(in_flight=most, rounds=max(1, most * 3 // 4)),
        )
    folder = settings.llm_folder
    if missing := missing_files(folder):
        raise ConfigurationError(
            f"{PREFIX}LLM_FOLDER: {folder} is no model for ONNX Runtime: it lacks "
            f"{', '.join(missing)}"
        )
    card = read_card(folder)
    if card is not None:
        expect_prompts(card, prompt_versions())
    return OnnxConfig(
        folder,
        model=folder.name if card is None else card.name,
        threads=settings.llm_threads,
        cache_bytes=settings.llm_cache_bytes,
    )


def make_model(settings: Settings, metrics: Metrics) -> MeasuredModel:
    """Asks and loads nothing before its first call. Made inside the event loop that uses it."""
    config, shown = model_config(settings), settings.traces_prompts
    if isinstance(config, ServerConfig):
        return MeasuredModel(VllmModel(config, metrics), metrics, prompts_in_spans=shown)
    if settings.deployment is Deployment.PRODUCTION and config.folder == SHIPPED_MODEL:
        log.warning(
            "model_for_trying_out",
            model=config.model,
            detail="lrgd-mini knows the sample shop and little else: set LRGD_LLM_URL and "
            "LRGD_LLM_MODEL",
        )
    if read_card(config.folder) is None:
        log.warning(
            "model_without_card",
            folder=str(config.folder),
            detail="nobody says which prompts it was taught: `lrgd doctor` shows what it can do",
        )
    return MeasuredModel(OnnxModel(config, metrics), metrics, prompts_in_spans=shown)


def make_embeddings(settings: Settings) -> Embeddings | None:
    if settings.embeddings_url is None or settings.embeddings_model is None:
        return None
    key = settings.embeddings_api_key
    return Embeddings(
        EmbeddingsConfig(
            settings.embeddings_url,
            settings.embeddings_model,
            None if key is None else key.get_secret_value(),
            settings.embeddings_seconds,
        )
    )


def ranking_policy(settings: Settings) -> RankingPolicy:
    return RankingPolicy(
        mode=None if settings.ranking_mode is None else Mode(settings.ranking_mode),
        permutations=settings.ranking_permutations,
        calibrated=settings.ranking_calibrated,
        step_size=settings.ranking_step_size,
        prior_weight=settings.ranking_prior_weight,
        candidates=settings.ranking_candidates,
        deadline_seconds=settings.recommend_deadline_ms / 1000,
        stored_seconds=settings.ranking_stored_seconds,
        at_once=settings.recommend_at_once,
    )


def make_ledger(settings: Settings, database: Database, metrics: Metrics) -> Ledger:
    return Ledger(
        database,
        metrics,
        lease_seconds=settings.learning_lease_seconds,
        attempts=settings.learning_attempts,
        park_seconds=settings.learning_park_seconds,
    )


def automatic_rounds(settings: Settings) -> Automatic:
    return Automatic(
        tokens_per_day=settings.learning_tokens_per_day,
        enough_positives=settings.learning_new_positives,
        nightly_users=settings.learning_nightly_users,
    )


@contextlib.asynccontextmanager
async def open_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Everything open inside the caller's event loop, and closed again in reverse."""
    urls = redis_urls(settings)
    timeout = settings.broker_timeout_seconds
    async with contextlib.AsyncExitStack() as stack:
        database = open_database(settings)
        stack.push_async_callback(database.aclose)
        redis = connect(urls.state, timeout_seconds=settings.redis_timeout_seconds)
        stack.push_async_callback(redis.aclose)
        celery = make_celery(urls.broker, timeout_seconds=timeout)
        stack.callback(celery.close)
        queue = Queue(celery, redis, metrics, timeout_seconds=timeout)
        positives = PositiveEvents.parse(settings.positive_events)
        popularity = Popularity(database, redis, positives)

        states = UserStates(
            database, redis, positives, metrics, kept_seconds=settings.user_state_seconds
        )
        stack.push_async_callback(states.aclose)
        items = KnownItems(redis)
        retrieval = Retrieval(database, popularity, positives, items)
        replies = Replies(database, metrics, share=settings.replies_share)
        outcomes = Outcomes(database, positives, metrics)
        model = make_model(settings, metrics)
        stack.push_async_callback(model.aclose)
        ranker, policy = Ranker(model), ranking_policy(settings)
        meeting = Meeting(database, states, retrieval, popularity, shown=policy.candidates)
        experiments = Experiments(database, positives, model)
        live = LiveTraffic(redis)
        places = Places(policy.at_once, metrics, live)
        in_force = RegularizationInForce(database)
        background = (replies, outcomes, meeting, experiments, live, in_force)
        stack.push_async_callback(close_all, background)
        ledger = make_ledger(settings, database, metrics)
        materials = Materials(database, positives, retrieval)
        # A model server goes by priorities; the embedded one shares the machine with people.
        courtesy = live.give_way if settings.llm_url is None else None
        embeddings = make_embeddings(settings)
        if embeddings is not None:
            stack.push_async_callback(embeddings.aclose)
        runner = RoundRunner(
            database, ledger, materials, model, courtesy=courtesy, regularization=in_force.now,
            likeness=Likeness(embeddings), metrics=metrics,
        )  # fmt: skip
        expect_llm: Check = partial(expect_loaded, model)
        if isinstance(model.model, VllmModel):
            http = await stack.enter_async_context(_model_server(settings))
            expect_llm = partial(expect_model, http, str(settings.llm_model), model.model)

        yield Services(
            settings=settings,
            metrics=metrics,
            database=database,
            redis=redis,
            queue=queue,
            catalog=make_catalog(
                settings, database, Following(states, items, outcomes, queue, settings)
            ),
            keys=ApiKeys(database, trusted_seconds=settings.api_key_cache_seconds),
            rate_limiter=RateLimiter(redis, metrics, per_minute=settings.rate_limit_per_minute),
            model=model,
            popularity=popularity,
            covisit_index=CovisitIndex(database, positives, metrics),
            retrieval=retrieval,
            replies=replies,
            experiments=experiments,
            recommender=Recommender(
                meeting,
                states,
                ranker,
                replies,
                experiments,
                places,
                metrics,
                policy,
                in_force.at_hand,
            ),
            reranker=Reranker(ranker, places, metrics, policy, in_force.at_hand),
            prompts=ServedPrompts(
                meeting,
                ranker,
                experiments,
                policy,
                in_force.now,
            ),
            ledger=ledger,
            learner=Learner(ledger, runner, states, metrics),
            asking=Asking(
                database, ledger, positives, queue, policy, embeds=embeddings is not None
            ),
            rollbacks=Rollbacks(database, states, metrics),
            automatic=AutomaticRounds(
                database,
                redis,
                ledger,
                positives,
                model,
                policy,
                in_force.now,
                queue,
                metrics,
                automatic_rounds(settings),
            ),
            regularizations=Regularizations(database, queue),
            comparisons=Comparisons(database, materials, positives, model, policy, courtesy),
            health=Health(settings, database, redis, metrics, {"llm": expect_llm}),
        )


def _model_server(settings: Settings) -> httpx2.AsyncClient:
    key = settings.llm_api_key
    return httpx2.AsyncClient(
        base_url=str(settings.llm_url).rstrip("/") + "/",
        timeout=CHECK_SECONDS,
        headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
    )
