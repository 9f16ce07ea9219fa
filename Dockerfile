# syntax=docker/dockerfile:1
# bench as a service, for a CPU or for CUDA, and MLflow's server beside it: docs/docker.md.
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
# "cpu" or "cuda". CUDA's own libraries come with PyTorch and onnxruntime: the host needs the driver alone.
ARG DEVICE=cpu
# For a CPU: an index of packages with a PyTorch that has no CUDA in it, as pytorch.org names it. Else PyPI's.
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/bench
ENV PATH=/opt/bench/bin:$PATH
WORKDIR /src
# The libraries are a layer of their own, which changes with these three files alone; the second one pins versions.
COPY pyproject.toml constraints.txt deploy/requirements.py ./
# hadolint ignore=DL3013
RUN if [ "$DEVICE" = cpu ] && [ -n "$TORCH_INDEX" ]; then \
      python -m pip install --no-deps --constraint constraints.txt \
        --index-url "$TORCH_INDEX" torch torchvision; \
    fi \
 && python requirements.py "$DEVICE" serve mlflow > requirements.txt \
 && python -m pip install --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY bench bench
RUN python -m pip install --no-deps .

FROM python:${PYTHON} AS mlflow
# Its own environment: MLflow with its pages wants an older pyarrow than bench has.
ARG MLFLOW=3.17.2
RUN python -m pip install --no-cache-dir "mlflow==${MLFLOW}" \
 && useradd --uid 10001 --create-home mlflow \
 && install --directory --owner mlflow /mlflow
USER 10001
WORKDIR /mlflow
ENV MLFLOW_DISABLE_TELEMETRY=true
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", \
     "--backend-store-uri", "sqlite:////mlflow/mlflow.db", "--artifacts-destination", "/mlflow/artifacts", \
     "--allowed-hosts", "mlflow:5000,localhost:5000,127.0.0.1:5000"]

FROM python:${PYTHON} AS service
RUN useradd --uid 10001 --create-home bench \
 && install --directory --owner bench /experiment
COPY --from=build /opt/bench /opt/bench
USER 10001
WORKDIR /experiment
ENV PATH=/opt/bench/bin:$PATH PYTHONUNBUFFERED=1 BENCH_HOST=0.0.0.0 BENCH_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=6 \
  CMD ["python", "-c", "import os; from urllib.request import urlopen; urlopen(f\"http://127.0.0.1:{os.environ['BENCH_PORT']}/health\", timeout=4)"]
ENTRYPOINT ["bench"]
CMD ["serve"]
