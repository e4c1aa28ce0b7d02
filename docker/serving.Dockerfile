# Serves exported models on cores: onnxruntime and Ray Serve, no torch.
#   docker build -f docker/serving.Dockerfile -t hpo-serving .
#   docker run -p 8000:8000 -v ./best/export/onnx:/models/digits:ro \
#       -v ./token:/run/secrets/token:ro hpo-serving digits=/models/digits
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/hpo
ENV PATH=/opt/hpo/bin:$PATH
WORKDIR /src
COPY constraints.txt docker/serving.txt ./
RUN pip install -c constraints.txt -r serving.txt
COPY pyproject.toml README.md ./
COPY hpo hpo
COPY models models
COPY studies studies
# Without what only training needs: torch, Optuna, pandas, ...
RUN pip install --no-deps .

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="hpo-serving" \
      org.opencontainers.image.description="Serves exported models over HTTP"
RUN useradd --create-home --uid 10001 hpo
COPY --from=build /opt/hpo /opt/hpo
ENV PATH=/opt/hpo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 10001
WORKDIR /home/hpo
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["hpo", "serve", "--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
