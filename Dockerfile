# The broker by itself: small, not root, data in /var/lib/kafka. Settings come as arguments of `start`:
#   docker run --rm -p 9092:9092 pykafka-broker --override=advertised.listeners=PLAINTEXT://localhost:9092
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md CHANGELOG.md ./
COPY src ./src
COPY protocol_specs ./protocol_specs
RUN python -m venv /opt/pykafka-broker \
    && /opt/pykafka-broker/bin/pip install --no-cache-dir '.[sasl]'

FROM python:3.11-slim
RUN useradd --system --uid 1000 --create-home kafka && install -d -o kafka -g kafka /var/lib/kafka
COPY --from=build /opt/pykafka-broker /opt/pykafka-broker
ENV PATH=/opt/pykafka-broker/bin:$PATH PYTHONUNBUFFERED=1
USER kafka
WORKDIR /home/kafka
VOLUME /var/lib/kafka
EXPOSE 9092
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["pykafka-broker", "health", "localhost:9092"]
ENTRYPOINT ["pykafka-broker", "start", "--override=log.dirs=/var/lib/kafka"]
CMD ["--override=listeners=PLAINTEXT://:9092"]
