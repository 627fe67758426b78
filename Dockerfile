# Two images from one build: `--target=service` (the API) and `--target=worker` (runs one task).
ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
WORKDIR /src
# Every member of the workspace has to be there for Cargo to accept the lock file.
COPY . .
RUN cargo build --release --locked --package legwork-cli --bin legwork

# The agent is one program; npm fetches it, Node is not needed to run it.
FROM node:22-${DEBIAN}-slim AS claude
ARG CLAUDE_VERSION=2.1.197
WORKDIR /claude
RUN npm install --no-audit --no-fund --ignore-scripts "@anthropic-ai/claude-code@${CLAUDE_VERSION}" \
    && case "$(uname -m)" in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) exit 1 ;; esac \
    && cp "node_modules/@anthropic-ai/claude-code-linux-${arch}/claude" /usr/local/bin/claude \
    && case "$(claude --version)" in "${CLAUDE_VERSION} "*) ;; *) exit 1 ;; esac

FROM debian:${DEBIAN}-slim AS service
# hadolint ignore=DL3008 # Debian removes old versions: a pinned one cannot be built again next month
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 legwork \
    && useradd --uid 10001 --gid legwork --create-home --home-dir /home/legwork --shell /usr/sbin/nologin legwork
COPY --from=build /src/target/release/legwork /usr/local/bin/legwork
USER 10001:10001
WORKDIR /home/legwork
ENV HOME=/home/legwork HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/legwork"]
CMD ["serve"]

FROM debian:${DEBIAN}-slim AS worker
# git and ssh clone and push; git, ripgrep and jq are what agents reach for.
# hadolint ignore=DL3008 # as above
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates git iproute2 iptables jq openssh-client procps ripgrep \
    && rm -rf /var/lib/apt/lists/*
COPY --from=claude /usr/local/bin/claude /usr/local/bin/claude
COPY --from=build /src/target/release/legwork /usr/local/bin/legwork
# As root, which the worker needs to run the agent, commands and git as a user of the task's own and to close
# the metadata address to that user. Nothing that a request names runs as root.
# hadolint ignore=DL3002
USER 0:0
WORKDIR /root
ENV HOME=/root CLAUDE_COMMAND=/usr/local/bin/claude
ENTRYPOINT ["/usr/local/bin/legwork"]
CMD ["worker"]
