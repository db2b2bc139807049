# The worker's image: the packages locked for `main` and the worker itself, on top of the base and nothing else.
# `PYTHON_VERSION` may name any 3.11: the platform's own Compose file passes one.
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION}-slim AS builder
LABEL job-fetcher.build=builder
WORKDIR /build
# `--target` makes a plain folder: no virtual environment whose interpreter's path would have to be the same later.
# What changes least often comes first: the packages are installed anew only when the lock changes.
COPY poetry.lock ./
COPY scripts/requirements.py scripts/
RUN python scripts/requirements.py main > requirements.txt \
    && pip install --no-cache-dir --root-user-action=ignore --require-hashes --target /opt/job-fetcher -r requirements.txt
# The build backend is pinned here since poetry.lock does not name it; without isolation pip fetches no other.
RUN printf 'poetry-core==2.5.0 --hash=sha256:98ee465b66f7e14bb9fbe68fb5e00d0cff184f036993ec94610ae4b5612f3add' > backend.txt \
    && pip install --no-cache-dir --root-user-action=ignore --require-hashes --target backend -r backend.txt
COPY pyproject.toml README.md ./
COPY src src
RUN PYTHONPATH=backend pip install --no-cache-dir --root-user-action=ignore --no-build-isolation --no-deps --no-index \
        --target package . \
    && cp -r package/. /opt/job-fetcher/ \
    && rm -rf /opt/job-fetcher/bin
# rich colours source code with Pygments and lays out Markdown: the worker shows neither, and they are two thirds of rich.
RUN cd /opt/job-fetcher && rm -rf pygments pygments-* markdown_it markdown_it_py-* mdurl mdurl-* \
    && PYTHONPATH=. python -c 'import rich.console, rich.live, rich.progress, rich.table, rich.text'

FROM python:${PYTHON_VERSION}-slim
# NVIDIA's runtime mounts what is named here: the worker asks NVML about the cards and computes nothing itself.
ENV PYTHONPATH=/opt/job-fetcher \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=utility
COPY --from=builder /opt/job-fetcher /opt/job-fetcher
# For `docker exec CONTAINER job-fetcher pause`.
RUN printf '#!/bin/sh\nexec python -m job_fetcher "$@"\n' > /usr/local/bin/job-fetcher \
    && chmod +x /usr/local/bin/job-fetcher
STOPSIGNAL SIGTERM
# Reads one time stamp: the worker says by when it will have got on. The start period is for jobs left behind.
HEALTHCHECK --interval=60s --timeout=10s --start-period=120s --retries=2 CMD ["python", "-m", "job_fetcher.core.health"]
# It runs as root: who may use the mounted Docker socket is root on the host anyway, and job files belong to anybody.
ENTRYPOINT ["python", "-m", "job_fetcher"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL job-fetcher.build=worker \
      org.opencontainers.image.title="job-fetcher" \
      org.opencontainers.image.description="The DECODE OpenCloud worker: runs microscopy jobs on a lab's own GPU workstation" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
