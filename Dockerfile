# One image for the gateway, the worker, beat and the migrations; the command decides which.
#
#   docker build -t lrgd .
#   docker run --rm lrgd --help

FROM python:3.12.14-slim-bookworm AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /app
# Only wheels, and only with the locked hashes: nothing is compiled and nothing else can slip in.
# pip and uv stay behind in /opt/tools: the running image installs nothing.
COPY requirements-uv.lock requirements.lock ./
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --require-hashes --only-binary :all: -r requirements-uv.lock \
    && python -m venv --without-pip /opt/lrgd \
    && /opt/tools/bin/pip --python /opt/lrgd/bin/python install \
        --require-hashes --only-binary :all: -r requirements.lock

# The application itself, editable as everywhere; uv builds it without a download. The bytecode is
# written now because the running container may not write: checked by nothing, not by the time of
# the source, which copying may change.
COPY . .
RUN /opt/tools/bin/uv pip install --offline --python /opt/lrgd/bin/python --no-deps --editable . \
    && /opt/lrgd/bin/python -m compileall -q --invalidation-mode unchecked-hash /app


FROM python:3.12.14-slim-bookworm

# A number, so that an orchestrator can verify that the user is not root.
RUN groupadd --gid 10001 lrgd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/lrgd \
        --shell /usr/sbin/nologin lrgd \
    && install -d -o 10001 -g 10001 /var/lib/lrgd

COPY --from=builder /opt/lrgd /opt/lrgd
COPY --from=builder /app /app

# A container is reached from outside, so it starts as production does: with keys, and not without
# a database and Redis. Each of these can be set otherwise with -e.
ENV PATH=/opt/lrgd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LRGD_DEPLOYMENT=production \
    LRGD_AUTH=required \
    LRGD_HOST=0.0.0.0 \
    LRGD_DATA_DIR=/var/lib/lrgd

WORKDIR /app
USER 10001:10001
EXPOSE 8000

# Liveness: an orchestrator restarts what fails it, and a restart does not repair a database that is
# down. Whether everything behind the gateway answers is /readyz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/app/deploy/probe.py", "http://127.0.0.1:8000/healthz"]

ENTRYPOINT ["lrgd"]
CMD ["gateway"]
