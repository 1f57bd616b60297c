# The node agent on Debian with the distribution's BCC. What builds it stays in the first stage.
#
#   docker build --tag bpfleet-agent:local .
#
# or `make image`, which takes buildah where there is no Docker. How to run it: docs/container.md.
#
# No line names a mirror or a package index: packages come from where apt in the base image and pip by default take them.
# BASE may name the same image elsewhere (--build-arg BASE=registry.example/debian:trixie-slim).
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3-venv
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
COPY requirements/build.txt requirements/agent.txt requirements/
# pip and the builder live in `tools`; /opt/bpfleet gets what runs, and is all that the next stage takes. Bytecode is
# never checked against its source: neither changes on a read-only root. kubernetes.aio is the same client once more for
# asyncio, 64 MB that the agent never loads.
RUN python3 -m venv tools \
    && tools/bin/pip install --quiet --require-hashes --only-binary :all: --requirement requirements/build.txt \
    && python3 -m venv --without-pip /opt/bpfleet \
    && tools/bin/pip --python /opt/bpfleet install --quiet --require-hashes --only-binary :all: \
        --requirement requirements/agent.txt \
    && rm -r /opt/bpfleet/lib/python3*/site-packages/kubernetes/aio \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/bpfleet/lib
COPY pyproject.toml README.md LICENSE ./
COPY LICENSES LICENSES
COPY bpf bpf
COPY policies/security policies/security
COPY src src
RUN tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip --python /opt/bpfleet install --quiet --no-index --no-deps wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/bpfleet/lib/python3*/site-packages/agent \
        /opt/bpfleet/lib/python3*/site-packages/bpfleet

FROM ${BASE}
# ca-certificates: whom sinks believe that are told no ca_file (docs/sinks.md).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-bpfcc \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/log/*
COPY --from=build /opt/bpfleet /opt/bpfleet

ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="bpfleet agent" \
    org.opencontainers.image.description="What every workload does on the network, counted in the kernel" \
    org.opencontainers.image.licenses="Apache-2.0 AND (GPL-2.0-only OR Apache-2.0)" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="debian:trixie-slim"

ENV PATH=/opt/bpfleet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 9436
# Uid 0 without the power of root: a container of another user is given no capabilities, and this one needs three of
# them and no more.
USER 0
# Lists of words, so that no shell is needed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["bpfleet", "ready"]
ENTRYPOINT ["bpfleet"]
CMD ["agent"]
