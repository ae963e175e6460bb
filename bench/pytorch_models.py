#!/usr/bin/env python3
"""PyTorch implementations that fbt is compared with, written to run as fast as PyTorch allows on a CPU:

feedback  the same Feedback Transformer: one shared key and value per step, in preallocated memory. Training uses two autograd
          functions that write and read the memory in place; decoding is a frozen TorchScript module.
parallel  a causal Transformer of the same size, which reads all steps of a segment at once (training only).

--device cuda runs the same models on a GPU, with TF32 and fused Adam, and --graph the whole update, or decoding step, as one CUDA
graph. Prints one JSON object. --check FILE compares the feedback model with what fbt's sample_model wrote (on the CPU).
"""
import argparse
import ctypes
import json
import math
import struct
import sys
import time

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 65


class Sizes:
    def __init__(self, vocabulary, width, layers, heads, feed_forward, window):
        self.vocabulary, self.width, self.layers, self.heads = vocabulary, width, layers, heads
        self.feed_forward, self.window = feed_forward, window
        self.head_size = width // heads


# name: sizes, lanes
CONFIGURATIONS = {
    "A": (Sizes(VOCABULARY, 128, 4, 4, 512, 64), 32),
    "B": (Sizes(VOCABULARY, 256, 4, 4, 1024, 64), 32),
    "C": (Sizes(VOCABULARY, 512, 6, 8, 2048, 128), 16),
    "D": (Sizes(VOCABULARY, 512, 12, 8, 4096, 512), 1),
}


class Memory:
    """Keys and values (lanes * heads, steps, head_size) of a segment, and the gradients with respect to them."""

    def __init__(self, rows, steps, head_size, device):
        self.keys, self.values, self.dkeys, self.dvalues = (torch.zeros(rows, steps, head_size, device=device) for _ in range(4))


class Remember(torch.autograd.Function):
    """Writes a slot. The link makes its backward pass come after that of every later step: then the slot's gradient is whole."""

    @staticmethod
    def forward(ctx, link, key, value, memory, slot):
        ctx.memory, ctx.slot = memory, slot
        memory.keys[:, slot] = key
        memory.values[:, slot] = value
        return link.clone()

    @staticmethod
    def backward(ctx, dlink):
        memory, slot = ctx.memory, ctx.slot
        return torch.zeros_like(dlink), memory.dkeys[:, slot], memory.dvalues[:, slot], None, None


class Attend(torch.autograd.Function):
    """softmax(q . keys + bias) values over the slots from begin to end; query (rows, head_size), bias (rows, slots)."""

    @staticmethod
    def forward(ctx, link, query, bias, memory, begin, end):
        keys, values = memory.keys[:, begin:end], memory.values[:, begin:end]
        query = query.unsqueeze(1)
        weights = torch.baddbmm(bias.unsqueeze(1), query, keys.transpose(1, 2)).softmax(2)
        ctx.memory, ctx.begin, ctx.end = memory, begin, end
        ctx.save_for_backward(query, weights)
        return torch.bmm(weights, values).squeeze(1)

    @staticmethod
    def backward(ctx, dout):
        memory, window = ctx.memory, slice(ctx.begin, ctx.end)
        query, weights = ctx.saved_tensors
        dout = dout.unsqueeze(1)
        # one slot's outer products are a broadcast product: faster than a matrix product of depth 1
        memory.dvalues[:, window].addcmul_(weights.transpose(1, 2), dout)
        dweights = torch.bmm(dout, memory.values[:, window].transpose(1, 2))
        dscores = torch._softmax_backward_data(dweights, weights, 2, weights.dtype)
        memory.dkeys[:, window].addcmul_(dscores.transpose(1, 2), query)
        dquery = torch.bmm(dscores, memory.keys[:, window])
        return None, dquery.squeeze(1), dscores.squeeze(1), None, None, None


class FeedbackBlock(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.query = nn.Linear(s.width, s.width, bias=False)
        self.output = nn.Linear(s.width, s.width)
        self.first, self.second = nn.Linear(s.width, s.feed_forward), nn.Linear(s.feed_forward, s.width)


class FeedbackTransformer(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.sizes = s
        self.embedding = nn.Embedding(s.vocabulary, s.width)
        self.blocks = nn.ModuleList(FeedbackBlock(s) for _ in range(s.layers))
        self.position = nn.Parameter(torch.empty(s.window, s.head_size).uniform_(-1, 1) / math.sqrt(s.head_size))
        # as fbt's begins: two thirds of the memory vector are the embedding
        self.mix = nn.Parameter(torch.tensor([math.log(2 * s.layers), *[0.0] * s.layers]))
        self.memory_norm = nn.LayerNorm(s.width)
        self.key_value = nn.Linear(s.width, 2 * s.width, bias=False)
        self.norm_out = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, s.vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (T, B, V) of tokens (T, B), from an empty memory."""
        s = self.sizes
        steps, lanes = tokens.shape
        memory = Memory(lanes * s.heads, steps, s.head_size, tokens.device)
        link = torch.zeros(1, device=tokens.device, requires_grad=True)
        shares = self.mix.softmax(0).unsqueeze(0)
        scale = 1 / math.sqrt(s.head_size)
        table = self.position.t().contiguous()
        top = []
        for t, h in enumerate(self.embedding(tokens).unbind(0)):
            begin = max(0, t - s.window)
            layers = [h]
            for block in self.blocks:
                if t > 0:
                    query = (block.query(block.norm1(h)) * scale).view(-1, s.head_size)
                    bias = query @ table[:, s.window - (t - begin):]
                    h = h + block.output(Attend.apply(link, query, bias, memory, begin, t).view(lanes, s.width))
                h = h + block.second(F.relu(block.first(block.norm2(h))))
                layers.append(h)
            m = (shares @ torch.stack(layers).view(s.layers + 1, -1)).view(lanes, s.width)
            key, value = self.key_value(self.memory_norm(m)).view(lanes, 2, -1, s.head_size).unbind(1)
            link = Remember.apply(link, key.reshape(-1, s.head_size), value.reshape(-1, s.head_size), memory, t)
            top.append(h)
        # the last link is part of the result, so that every slot's backward pass runs
        return self.head(self.norm_out(torch.stack(top))) + 0 * link


class FeedbackStep(nn.Module):
    """One step of one sequence without gradients; keys and values (heads, slots, head_size) are written in place."""

    def __init__(self, model: FeedbackTransformer):
        super().__init__()
        s = model.sizes
        self.layers, self.heads, self.head_size, self.width, self.window = s.layers, s.heads, s.head_size, s.width, s.window
        self.scale = 1 / math.sqrt(s.head_size)
        self.embedding, self.blocks, self.norm_out, self.head = model.embedding, model.blocks, model.norm_out, model.head
        self.memory_norm, self.key_value = model.memory_norm, model.key_value
        self.register_buffer("shares", model.mix.softmax(0).unsqueeze(0).detach())
        self.register_buffer("table", model.position.t().contiguous().detach())

    def forward(self, token: Tensor, keys: Tensor, values: Tensor, begin: int, end: int) -> Tensor:
        h = self.embedding(token)
        layers = [h]
        k, v = keys[:, begin:end].transpose(1, 2), values[:, begin:end]
        table = self.table[:, self.window - (end - begin):]
        for block in self.blocks:
            if end > begin:
                query = (block.query(block.norm1(h)) * self.scale).view(self.heads, self.head_size)
                scores = torch.baddbmm((query @ table).unsqueeze(1), query.unsqueeze(1), k)
                h = h + block.output(torch.bmm(scores.softmax(2), v).view(1, self.width))
            h = h + block.second(F.relu(block.first(block.norm2(h))))
            layers.append(h)
        m = (self.shares @ torch.stack(layers).view(self.layers + 1, self.width)).view(1, self.width)
        key_value = self.key_value(self.memory_norm(m)).view(2, self.heads, self.head_size)
        keys[:, end] = key_value[0]
        values[:, end] = key_value[1]
        return self.head(self.norm_out(h))


class ParallelBlock(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.heads = s.heads
        self.norm1, self.norm2 = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.query_key_value = nn.Linear(s.width, 3 * s.width)
        self.output = nn.Linear(s.width, s.width)
        self.first, self.second = nn.Linear(s.width, s.feed_forward), nn.Linear(s.feed_forward, s.width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        lanes, steps, width = h.shape
        q, k, v = (x.view(lanes, steps, self.heads, -1).transpose(1, 2)
                   for x in self.query_key_value(self.norm1(h)).split(width, 2))
        scores = (q * (1 / math.sqrt(q.shape[3]))) @ k.transpose(2, 3) + mask
        attended = (scores.softmax(3) @ v).transpose(1, 2).reshape(lanes, steps, width)
        h = h + self.output(attended)
        return h + self.second(F.relu(self.first(self.norm2(h))))


class ParallelTransformer(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(s.vocabulary, s.width), nn.Embedding(s.window, s.width)
        self.blocks = nn.ModuleList(ParallelBlock(s) for _ in range(s.layers))
        self.norm_out, self.head = nn.LayerNorm(s.width), nn.Linear(s.width, s.vocabulary)
        self.register_buffer("mask", torch.full((s.window, s.window), -math.inf).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of tokens (B, T)."""
        h = self.embedding(tokens) + self.positions.weight
        for block in self.blocks:
            h = block(h, self.mask)
        return self.head(self.norm_out(h))


def best_rate(args, amount, f):
    """The best of several repetitions, after one call that is not timed."""
    def wait():
        if args.device == "cuda":
            torch.cuda.synchronize()

    f()
    wait()
    best = 0.0
    for _ in range(args.repetitions):
        start, done, calls = time.perf_counter(), 0, 1
        while True:
            for _ in range(calls):
                f()
            wait()
            done += amount * calls
            seconds = time.perf_counter() - start
            if seconds >= args.seconds:
                break
            if args.device == "cuda":
                calls *= 2  # waiting costs time, so it is done ever more rarely
        best = max(best, done / seconds)
    return best


def as_graph(f):
    """f, which always works on the same tensors, as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # what happens in first calls only is not to be part of the graph
            f()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        f()
    return graph.replay


def peak_memory_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def train_rate(args):
    sizes, lanes = CONFIGURATIONS[args.config]
    lanes = args.lanes or lanes
    feedback = args.model == "feedback"
    model = (FeedbackTransformer if feedback else ParallelTransformer)(sizes).to(args.device)
    shape = (sizes.window, lanes) if feedback else (lanes, sizes.window)
    tokens, targets = (torch.randint(sizes.vocabulary, shape).to(args.device) for _ in range(2))
    on_gpu = {"fused": True, "capturable": args.graph} if args.device == "cuda" else {}
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, **on_gpu)

    def update():
        adam.zero_grad(set_to_none=True)
        F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()
        adam.step()

    return best_rate(args, tokens.numel(), as_graph(update) if args.graph else update)


def freeze(model: FeedbackTransformer):
    return torch.jit.freeze(torch.jit.script(FeedbackStep(model).eval()))


@torch.inference_mode()
def decode_rate(args):
    """Tokens per second of one sequence with a full window."""
    sizes, _ = CONFIGURATIONS[args.config]
    model = FeedbackTransformer(sizes).to(args.device)
    step = FeedbackStep(model).eval() if args.device == "cuda" else freeze(model)
    window, capacity = sizes.window, 2 * sizes.window
    keys, values = (torch.randn(sizes.heads, capacity, sizes.head_size).to(args.device) for _ in range(2))
    token = torch.zeros(1, dtype=torch.long, device=args.device)
    if args.graph:
        # A graph is bound to its slots. A program would have one for every place of the window; each takes as long as this one.
        return best_rate(args, 1, as_graph(lambda: step(token, keys, values, 0, window)))
    end = window

    def decode():
        nonlocal end
        if end == capacity:  # move what is visible to the front
            for slots in (keys, values):
                slots[:, :window] = slots[:, window:].clone()
            end = window
        step(token, keys, values, end - window, end)
        end += 1

    for _ in range(20):  # TorchScript optimises in the first calls
        decode()
    return best_rate(args, 1, decode)


def read_safetensors(path):
    """Tensors and metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    types = {"F32": numpy.float32, "I32": numpy.int32}
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        tensors[name] = torch.from_numpy(numpy.frombuffer(data[begin:end], types[info["dtype"]]).reshape(info["shape"]).copy())
    return tensors, metadata


def fbt_names(model: FeedbackTransformer):
    """fbt's names, and the parameter and rows of it that each is here."""
    everything = slice(None)
    d = model.sizes.width
    for name, parameter in model.named_parameters():
        name = name.replace("memory_norm", "key_values.0.norm").replace(".query", ".attention.query")
        name = name.replace(".output", ".attention.output").replace(".first", ".feed_forward.first")
        name = name.replace(".second", ".feed_forward.second")
        name = {"position": "positions.0.weight", "mix": "mix.weight"}.get(name, name)
        if name == "key_value.weight":
            yield "key_values.0.key.weight", parameter, slice(0, d)
            yield "key_values.0.value.weight", parameter, slice(d, 2 * d)
        else:
            yield name, parameter, everything


def check(path):
    """Whether the feedback model gives fbt's logits, step by step and over a segment, and its loss and gradients."""
    tensors, metadata = read_safetensors(path)
    config, lanes = json.loads(metadata["fbt.config"]), int(metadata["lanes"])
    if config["memory_norm"] != "own":
        sys.exit(f"error: {path}: expected a model with memory_norm own, found {config['memory_norm']}")
    model = FeedbackTransformer(Sizes(config["vocabulary"], config["width"], config["layers"], config["heads"],
                                      config["feed_forward"] or 4 * config["width"], config["window"]))
    with torch.no_grad():
        for name, parameter, rows in fbt_names(model):
            parameter[rows] = tensors.pop(name)
    tokens, targets = (tensors.pop(name).long().view(-1, lanes) for name in ("tokens", "targets"))
    expected_logits = tensors.pop("logits").view(*tokens.shape, -1)
    logits = model(tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    differences = {"logits": (logits - expected_logits).abs().max(), "loss": (loss - tensors.pop("loss")).abs().max()}
    for name, parameter, rows in fbt_names(model):
        expected = tensors.pop("grad." + name)
        differences["grad." + name] = (parameter.grad[rows] - expected).abs().max() / expected.abs().max()
    step, sizes = freeze(model), model.sizes
    keys, values = (torch.zeros(sizes.heads, len(tokens), sizes.head_size) for _ in range(2))
    with torch.inference_mode():
        stepped = torch.cat([step(token[:1], keys, values, max(0, t - sizes.window), t) for t, token in enumerate(tokens)])
    differences["logits of the frozen step"] = (stepped - expected_logits[:, 0]).abs().max()
    worst = max(differences, key=lambda name: float(differences[name].nan_to_num(torch.inf)))
    print(f"{len(differences)} comparisons with fbt, the largest difference is {float(differences[worst]):.1e} in {worst}")
    if tensors:
        sys.exit(f"error: not compared: {', '.join(tensors)}")
    if not float(differences[worst]) < 1e-4:
        sys.exit("error: the PyTorch model is not the one of fbt")


def blas():
    """The version and the kernels of OpenBLAS."""
    library = ctypes.CDLL("libopenblas.so.0")
    library.openblas_get_config.restype = ctypes.c_char_p
    return library.openblas_get_config().decode()


def vectors():
    """What PyTorch's own kernels run on."""
    return next(line.split(":")[1].strip() for line in torch.__config__.show().splitlines() if "CPU capability" in line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["feedback", "parallel"], default="feedback")
    parser.add_argument("--mode", choices=["train", "decode"], default="train")
    parser.add_argument("--config", choices=list(CONFIGURATIONS), default="A")
    parser.add_argument("--lanes", type=int, help="sequences side by side in training; those of the configuration unless given")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--graph", action="store_true", help="the whole update, or decoding step, as one CUDA graph")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1, help="least time of one repetition")
    parser.add_argument("--repetitions", type=int, default=3, help="the best of so many is reported")
    parser.add_argument("--check", metavar="FILE", help="instead: compare with what sample_model wrote")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    if args.check:
        return check(args.check)
    if args.mode == "decode" and args.model != "feedback":
        parser.error("only the feedback model is decoded")
    if args.lanes is not None and (args.mode == "decode" or args.lanes < 1):
        parser.error("--lanes: expected at least 1, in training; one sequence is decoded")
    if args.graph and args.device != "cuda":
        sys.exit("error: --graph needs --device cuda")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda: PyTorch finds no CUDA device here")
    if args.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    before = peak_memory_mib()
    rate = train_rate(args) if args.mode == "train" else decode_rate(args)
    memory = peak_memory_mib()
    result = {"model": args.model, "mode": args.mode, "config": args.config, "threads": args.threads}
    if args.lanes:
        result["lanes"] = args.lanes
    result["tokens_per_second"] = rate
    if args.device == "cuda":
        result.update({"device": torch.cuda.get_device_name(), "graph": args.graph,
                       "peak_device_memory_mib": torch.cuda.max_memory_reserved() / 2**20, "pytorch": torch.__version__,
                       "cuda": torch.version.cuda})
    else:
        result.update({"peak_memory_mib": memory, "peak_memory_without_pytorch_mib": memory - before,
                       "pytorch": torch.__version__, "vectors": vectors(), "blas": blas()})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
