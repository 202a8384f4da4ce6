"""The Celery app of the worker: the shared queue configuration, what beat sends, and tasks."""

from __future__ import annotations

from celery import Celery
from celery.schedules import crontab

from services.bootstrap import redis_urls
from services.queue import Job, make_celery
from services.settings import Settings
from worker import tasks

POPULARITY_SECONDS = 60.0
COVISITATION_SECONDS = 60.0
FORGETTING_SECONDS = 3600.0
# The sweeper, too: a round whose worker is gone is taken up by the next that looks.
ADVANCING_SECONDS = 10.0
CONSIDERING_SECONDS = 600.0
# Goes on with what was broken off; a comparison that was just asked for is put on the queue itself.
COMPARING_SECONDS = 60.0
# A worker that was down at the hour does it when it is back, unless the night is over.
NIGHT_SECONDS = 6 * 3600.0


def make_worker_app(settings: Settings) -> Celery:
    celery = make_celery(
        redis_urls(settings).broker, timeout_seconds=settings.broker_timeout_seconds
    )
    celery.conf.update(
        # In memory: every entry is safe to repeat, and a file could be left half-written.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule={
            # An expiry, so that a stopped worker does not come back to a pile of old entries.
            Job.HEARTBEAT: {
                "task": Job.HEARTBEAT,
                "schedule": settings.heartbeat_seconds,
                "options": {"expires": settings.heartbeat_stale_seconds},
            },
            Job.REFRESH_POPULARITY: {
                "task": Job.REFRESH_POPULARITY,
                "schedule": POPULARITY_SECONDS,
                "options": {"expires": POPULARITY_SECONDS},
            },
            Job.REFRESH_COVISITATION: {
                "task": Job.REFRESH_COVISITATION,
                "schedule": COVISITATION_SECONDS,
                "options": {"expires": COVISITATION_SECONDS},
            },
            Job.ADVANCE_ROUNDS: {
                "task": Job.ADVANCE_ROUNDS,
                "schedule": ADVANCING_SECONDS,
                "options": {"expires": ADVANCING_SECONDS},
            },
            Job.CONSIDER_ROUNDS: {
                "task": Job.CONSIDER_ROUNDS,
                "schedule": CONSIDERING_SECONDS,
                "options": {"expires": CONSIDERING_SECONDS},
            },
            Job.COMPARE_REGULARIZATIONS: {
                "task": Job.COMPARE_REGULARIZATIONS,
                "schedule": COMPARING_SECONDS,
                "options": {"expires": COMPARING_SECONDS},
            },
            Job.NIGHTLY_ROUNDS: {
                "task": Job.NIGHTLY_ROUNDS,
                "schedule": crontab(minute="0", hour=str(settings.learning_nightly_hour)),
                "options": {"expires": NIGHT_SECONDS},
            },
            Job.FORGET_REPLIES: {
                "task": Job.FORGET_REPLIES,
                "schedule": FORGETTING_SECONDS,
                "options": {"expires": FORGETTING_SECONDS},
            },
        },
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
    )
    tasks.register(celery)
    return celery
