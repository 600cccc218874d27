"""Frames a second of U-Nets on a GPU, in PyTorch: ``python -m benchmarks.gpu MODEL…``.

Each shipped model is read back from its float32 file and runs in float16, channels last, on frames
of 512×512 that lie on the GPU, as one CUDA graph: the network alone, as it is trained, with the
head for the boundary and with batch norms; without ONNX Runtime, transfers and video. Printed are
the medians of five times 60 runs, with one frame and with eight.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from engines import models
from train.export.reread import reread
from train.networks.network import Network

SIDE, BATCHES, RUNS, ROUNDS = 512, (1, 8), 60, 5


def main() -> None:
    """Print a line for each model and number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a shipped U-Net")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for name in args.models:
        net = reread(models.find(name)).to("cuda", torch.float16, memory_format=torch.channels_last)
        for batch in BATCHES:
            with torch.inference_mode():
                seconds = seconds_a_run(net, batch)
            print(f"{name}, batch of {batch}: {batch / seconds:.0f} FPS, {seconds * 1e3:.2f} ms")


def seconds_a_run(net: Network, batch: int) -> float:
    """Return the median time of one run with `batch` frames."""
    shape = (batch, 3, SIDE, SIDE)
    frames = torch.rand(shape, device="cuda", dtype=torch.float16)
    frames = frames.contiguous(memory_format=torch.channels_last)
    stream = torch.cuda.Stream()  # graphs are captured beside the default stream
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            _ = net(frames).deployed_alpha
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _ = net(frames).deployed_alpha
    for _ in range(20):
        graph.replay()
    torch.cuda.synchronize()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(RUNS):
            graph.replay()
        torch.cuda.synchronize()
        taken.append((time.perf_counter() - start) / RUNS)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
