"""llama.cpp's own server for one GGUF file, in a process of its own: prints its URL, ends when its input does."""

import sys

import xllamacpp


def serve(model: str, context: int) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.warmup = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    server = serve(sys.argv[1], int(sys.argv[2]))
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()
