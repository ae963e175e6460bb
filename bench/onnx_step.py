#!/usr/bin/env python3
"""One decoding step of pytorch_models.py's feedback model in ONNX Runtime: PyTorch writes the graph, ONNX Runtime's C library runs it,
called from here so that no other language's layer costs time. Keys and values of a full window are inputs; those of the new slot are
outputs and take the place of the oldest. Compares logits, keys and values of some steps with PyTorch's, then measures, and prints one
JSON object."""
import argparse
import ctypes
import io
import json
import math
import sys

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytorch_models import CONFIGURATIONS, FeedbackStep, FeedbackTransformer, best_rate

# numbers of ONNX Runtime's C interface
ARENA_ALLOCATOR, DEFAULT_MEMORY, WARNINGS = 1, 0, 2
ELEMENTS = {numpy.dtype("float32"): 1, numpy.dtype("int64"): 7}
API_VERSION = 1
# places in its table of functions, to the end of which new versions only add
GET_ERROR_MESSAGE, CREATE_ENV, CREATE_SESSION_FROM_ARRAY, RUN = 2, 3, 8, 9
CREATE_SESSION_OPTIONS, SET_INTRA_OP_NUM_THREADS, CREATE_TENSOR_WITH_DATA, CREATE_CPU_MEMORY_INFO = 10, 24, 49, 69


class Step(nn.Module):
    """The window is a ring, so that nothing has to be moved: slot j is the (j - oldest)th of the window, and the position terms are
    turned accordingly. q . k + q . position is computed as q . (k + position), with a sum that all layers share."""

    def __init__(self, model: FeedbackTransformer):
        super().__init__()
        s = self.sizes = model.sizes
        self.embedding, self.blocks, self.norm_out, self.head = model.embedding, model.blocks, model.norm_out, model.head
        self.memory_norm, self.key_value = model.memory_norm, model.key_value
        self.register_buffer("shares", model.mix.softmax(0).unsqueeze(0).detach())
        self.register_buffer("table", model.position.t().repeat(1, 2).detach())
        self.queries = nn.ParameterList(block.query.weight.detach() / math.sqrt(s.head_size) for block in model.blocks)

    def forward(self, token: Tensor, begin: Tensor, keys: Tensor, values: Tensor):
        """keys (heads, head_size, window), values (heads, window, head_size); begin is window - oldest."""
        s = self.sizes
        h = self.embedding(token)
        layers = [h]
        k = keys + self.table[:, begin[0]:begin[0] + s.window]
        for block, query in zip(self.blocks, self.queries):
            q = F.linear(block.norm1(h), query).view(s.heads, 1, s.head_size)
            h = h + block.output(((q @ k).softmax(2) @ values).view(1, s.width))
            h = h + block.second(F.relu(block.first(block.norm2(h))))
            layers.append(h)
        m = self.shares @ torch.cat(layers)
        return self.head(self.norm_out(h)), self.key_value(self.memory_norm(m)).view(2, s.heads, s.head_size)


class Runtime:
    """ONNX Runtime's C library, as much of it as a step needs."""

    def __init__(self, path):
        class ApiBase(ctypes.Structure):
            _fields_ = [("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)), ("get_version", ctypes.CFUNCTYPE(ctypes.c_char_p))]

        library = ctypes.CDLL(path)
        library.OrtGetApiBase.restype = ctypes.POINTER(ApiBase)
        base = library.OrtGetApiBase().contents
        self.version = base.get_version().decode()
        self.api = ctypes.cast(base.get_api(API_VERSION), ctypes.POINTER(ctypes.c_void_p))

    def function(self, place, *types):
        return ctypes.CFUNCTYPE(ctypes.c_void_p, *types)(self.api[place])

    def check(self, status):
        if status:
            message = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(self.api[GET_ERROR_MESSAGE])
            sys.exit(f"error: ONNX Runtime: {message(status).decode()}")

    def create(self, place, *arguments):
        """What a function makes, whose last argument is a pointer to it; arguments are ctypes values."""
        made = ctypes.c_void_p()
        pointer = ctypes.POINTER(ctypes.c_void_p)
        self.check(self.function(place, *map(type, arguments), pointer)(*arguments, ctypes.byref(made)))
        return made

    def session(self, graph, threads):
        env = self.create(CREATE_ENV, ctypes.c_int(WARNINGS), ctypes.c_char_p(b"fbt"))
        options = self.create(CREATE_SESSION_OPTIONS)
        self.check(self.function(SET_INTRA_OP_NUM_THREADS, ctypes.c_void_p, ctypes.c_int)(options, threads))
        return self.create(CREATE_SESSION_FROM_ARRAY, env, ctypes.c_char_p(graph), ctypes.c_size_t(len(graph)), options)

    def tensor(self, array):
        """Works on the array's own memory."""
        memory = self.create(CREATE_CPU_MEMORY_INFO, ctypes.c_int(ARENA_ALLOCATOR), ctypes.c_int(DEFAULT_MEMORY))
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        return self.create(CREATE_TENSOR_WITH_DATA, memory, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), shape,
                           ctypes.c_size_t(array.ndim), ctypes.c_int(ELEMENTS[array.dtype]))

    def runner(self, session, inputs, outputs):
        """A function that reads and writes these arrays, given by name."""
        def listed(kind, items):
            return (kind * len(items))(*items)

        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        run = self.function(RUN, pointer, pointer, pointer, pointer, size, pointer, size, pointer)
        names = [listed(ctypes.c_char_p, [name.encode() for name in group]) for group in (inputs, outputs)]
        tensors = [listed(pointer, [self.tensor(array).value for array in group.values()]) for group in (inputs, outputs)]
        counts = [len(inputs), len(outputs)]

        def call():
            self.check(run(session, None, names[0], tensors[0], counts[0], names[1], counts[1], tensors[1]))
        return call


class Decoder:
    """Steps of one sequence in ONNX Runtime, from a full window: keys and values (heads, window, head_size)."""

    def __init__(self, runtime, model, keys, values, threads):
        s, self.window = model.sizes, model.sizes.window
        self.oldest = self.window - 2  # so that the first steps, which are checked, go round the ring's end
        self.token, self.begin = numpy.zeros(1, numpy.int64), numpy.zeros(1, numpy.int64)
        keys, values = (numpy.roll(slots, self.oldest, 1) for slots in (keys, values))
        self.keys, self.values = numpy.ascontiguousarray(keys.transpose(0, 2, 1)), values
        self.logits = numpy.zeros((1, s.vocabulary), numpy.float32)
        self.slot = numpy.zeros((2, s.heads, s.head_size), numpy.float32)
        inputs = {"token": self.token, "begin": self.begin, "keys": self.keys, "values": self.values}
        outputs = {"logits": self.logits, "slot": self.slot}
        file = io.BytesIO()
        torch.onnx.export(Step(model).eval(), tuple(torch.from_numpy(array) for array in inputs.values()), file, opset_version=17,
                          input_names=list(inputs), output_names=list(outputs))
        self.call = runtime.runner(runtime.session(file.getvalue(), threads), inputs, outputs)

    def step(self, token):
        self.token[0] = token
        self.begin[0] = self.window - self.oldest
        self.call()
        self.keys[:, :, self.oldest], self.values[:, self.oldest] = self.slot
        self.oldest = (self.oldest + 1) % self.window


def check(decoder, model, keys, values, steps=5):
    """The largest difference from PyTorch's step."""
    step, window = FeedbackStep(model).eval(), model.sizes.window
    keys, values = (F.pad(torch.from_numpy(slots), (0, 0, 0, steps)) for slots in (keys, values))
    worst = 0.0
    for t in range(steps):
        logits = step(torch.tensor([t]), keys, values, t, t + window)
        decoder.step(t)
        slot = torch.stack([keys[:, t + window], values[:, t + window]])
        for found, expected in ((decoder.logits, logits), (decoder.slot, slot)):
            worst = max(worst, float((torch.from_numpy(found) - expected).abs().nan_to_num(math.inf).max()))
    if not worst < 1e-4:
        sys.exit(f"error: the step in ONNX Runtime is not the one of PyTorch: they differ by {worst:.1e}")
    return worst


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", required=True, metavar="FILE", help="libonnxruntime.so")
    parser.add_argument("--config", choices=list(CONFIGURATIONS), default="A")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1, help="least time of one repetition")
    parser.add_argument("--repetitions", type=int, default=3, help="the best of so many is reported")
    args = parser.parse_args()
    args.device = "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(1)
    sizes, _ = CONFIGURATIONS[args.config]
    model = FeedbackTransformer(sizes)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape))  # nothing stays at 0 or 1, where a fault would not be seen
    keys, values = (torch.randn(sizes.heads, sizes.window, sizes.head_size).numpy() for _ in range(2))
    runtime = Runtime(args.library)
    decoder = Decoder(runtime, model, keys, values, args.threads)
    difference = check(decoder, model, keys, values)
    rate = best_rate(args, 1, lambda: decoder.step(0))
    print(json.dumps({"config": args.config, "threads": args.threads, "tokens_per_second": rate, "difference": difference,
                      "onnxruntime": runtime.version}))


if __name__ == "__main__":
    main()
