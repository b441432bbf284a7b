# Two images from one file: `operator` (small: the Kubernetes client and kopf) and `worker` (torch, Ray, storage;
# it trains and serves). Dependencies come in a layer of their own, before the source, so that a change of the
# source rebuilds and moves a few hundred kilobytes, not gigabytes.
#
#   docker build --target operator -t synthray/operator:dev .
#   docker build --target worker   -t synthray/worker:dev   .
#
# BASE_IMAGE: any Debian-like image with bash and Python 3.11+ with venv, as python3.
# SSL_CERT_FILE, PIP_*, UV_*: given as build arguments or by the builder's environment, they reach pip and uv.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# ---- what both images stand on
FROM ${BASE_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# wget: KubeRay's probes call it. Debian keeps no old versions, so a pinned one would soon fail to install.
# hadolint ignore=DL3008
RUN if ! command -v wget >/dev/null; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends wget \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && groupadd --gid 10001 synthray \
    && useradd --uid 10001 --gid synthray --create-home --shell /usr/sbin/nologin synthray
ENV PATH=/opt/synthray/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# ---- builders: nothing of them stays in an image but what is installed from them
FROM base AS uv
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --no-cache-dir ${SSL_CERT_FILE:+--cert "$SSL_CERT_FILE"} "uv==${UV_VERSION}"

FROM uv AS build
ENV UV_NO_CACHE=1
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN /opt/uv/bin/uv build --wheel --build-constraint constraints.txt --out-dir /dist

# ---- the images. uv and the wheel are only mounted while they are needed.
FROM base AS operator
LABEL org.opencontainers.image.title="synthray operator" \
      org.opencontainers.image.description="Runs TrainingRuns and GenerationServices on Kubernetes through KubeRay" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=pyproject.toml,target=/build/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    python3 -m venv --without-pip /opt/synthray \
    && UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=120 /opt/uv/bin/uv pip install \
        --python /opt/synthray/bin/python --constraint /build/constraints.txt \
        --requirement /build/pyproject.toml --extra operator
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,from=build,source=/dist,target=/dist \
    UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 /opt/uv/bin/uv pip install --python /opt/synthray/bin/python --no-deps /dist/*.whl
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /home/synthray
ENTRYPOINT ["synthray"]
CMD ["operator"]

FROM base AS worker
LABEL org.opencontainers.image.title="synthray worker" \
      org.opencontainers.image.description="Trains diffusion models with Ray Train and serves them with Ray Serve" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=pyproject.toml,target=/build/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    python3 -m venv --without-pip /opt/synthray \
    && UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=120 /opt/uv/bin/uv pip install \
        --python /opt/synthray/bin/python --constraint /build/constraints.txt \
        --requirement /build/pyproject.toml --extra train --extra serve
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,from=build,source=/dist,target=/dist \
    UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 /opt/uv/bin/uv pip install --python /opt/synthray/bin/python --no-deps /dist/*.whl
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /home/synthray
# KubeRay gives the command of head and workers, and runs it in bash; alone, the image shows what it can do.
CMD ["synthray", "--help"]
