# docker build --tag refilm .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/films" refilm denoise in.mp4 out.mp4
#
# On a processor; with a GPU, install torch's usual build instead.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/source,target=/source \
    --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python /source/tools/install_torch.py \
    && pip install --no-cache-dir --constraint /source/constraints.txt /wheels/*.whl \
    && useradd --create-home refilm
USER refilm
WORKDIR /films
ENTRYPOINT ["refilm"]
CMD ["--help"]
