"""The kernels behind their C interface, cases for them, and the definition in float64."""

import ctypes
import math
import os
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {"bfloat16": (torch.bfloat16, 1e-2), "float": (torch.float32, 1e-5)}
NAMES = ["out", "s1", "z1", "dq", "dk", "dv", "ds0", "dz0"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Library:
    """One variant's compiled kernels."""

    def __init__(self, path):
        if DEVICE.type == "cuda":
            ctypes.CDLL("libcudart.so.13", mode=ctypes.RTLD_GLOBAL)  # torch's own, which is loaded already
        self.c = ctypes.CDLL(str(path))
        self.c.lf_error.restype = ctypes.c_char_p
        self.c.lf_error.argtypes = [ctypes.c_int]
        self.c.lf_free.argtypes = [ctypes.c_void_p]
        self.c.lf_forward.argtypes = self.c.lf_backward.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def check(self, error):
        if error:
            raise RuntimeError(f"error {error}: {self.c.lf_error(error).decode()}")


def normal(seed, *size):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator).to(torch.bfloat16).to(DEVICE)


class Case:
    """Inputs, in bfloat16's values for both kinds, and what the definition makes of them."""

    def __init__(self, lengths, heads, d, m, full, seed=0):
        self.lengths, self.heads, self.d, self.m, self.seed = lengths, heads, d, m, seed
        self.name = f"lengths {shown(lengths)} H {heads} D {d} M {m}" + (" full" if full else "")
        self.packed = full and d == m
        self.offsets = [0]
        for length in lengths:
            self.offsets.append(self.offsets[-1] + length)
        n, s = self.offsets[-1], len(lengths)
        self.q, self.k = normal(seed + 1, n, heads, d), normal(seed + 2, n, heads, d)
        self.v, self.grad = normal(seed + 3, n, heads, m) + 0.5, normal(seed + 4, n, heads, m)
        self.starts = [(7 * i) % 50 for i in range(s)] if full and d % 2 == 0 else None
        self.cos = self.sin = self.decay = None
        if full and d % 2 == 0:
            positions = torch.arange(max(lengths) + 50, dtype=torch.float64).unsqueeze(1)
            angles = positions * 10000.0 ** (-torch.arange(d // 2, dtype=torch.float64) / (d // 2))
            self.cos, self.sin = angles.cos().float().to(DEVICE), angles.sin().float().to(DEVICE)
        if full:
            self.decay = torch.tensor([0.7 + 0.3 * (h + 1) / heads for h in range(heads)], device=DEVICE)
            self.s0, self.z0 = normal(seed + 5, s, heads, d, m).float(), normal(seed + 6, s, heads, d).float().abs()
            self.ds1, self.dz1 = normal(seed + 7, s, heads, d, m).float(), normal(seed + 8, s, heads, d).float()
        else:
            self.s0 = self.z0 = self.ds1 = self.dz1 = None

    def expected(self):
        """The definition in float64: outputs, last states and all gradients."""
        wide = lambda x: None if x is None else x.double().requires_grad_()
        q, k, v, s0, z0 = map(wide, (self.q, self.k, self.v, self.s0, self.z0))
        outs, states, norms = [], [], []
        for i, length in enumerate(self.lengths):
            t = slice(self.offsets[i], self.offsets[i + 1])
            start = self.starts[i] if self.starts else 0
            fq, fk = (feature(self.rotated(x[t], start)).transpose(0, 1) for x in (q, k))
            place = torch.arange(length, dtype=torch.float64, device=DEVICE)
            decay = torch.ones(self.heads, dtype=torch.float64, device=DEVICE) if self.decay is None else self.decay.double()
            power = lambda exponent: decay.view(-1, *[1] * exponent.dim()) ** exponent
            back = (place.unsqueeze(1) - place).clamp_min(0)
            scores = (fq @ fk.transpose(1, 2)).tril() * power(back)
            num, den = scores @ v[t].transpose(0, 1), scores.sum(-1) + 1e-6
            left = power(length - 1 - place).unsqueeze(-1)
            s, z = (fk * left).transpose(1, 2) @ v[t].transpose(0, 1), (fk * left).sum(1)
            if s0 is not None:
                before = power(place + 1)
                num = num + before.unsqueeze(-1) * (fq @ s0[i])
                den = den + before * (fq @ z0[i].unsqueeze(-1)).squeeze(-1)
                whole = decay**length
                s, z = s + whole.view(-1, 1, 1) * s0[i], z + whole.view(-1, 1) * z0[i]
            outs.append((num / den.unsqueeze(-1)).transpose(0, 1))
            states.append(s)
            norms.append(z)
        out, s1, z1 = torch.cat(outs), torch.stack(states), torch.stack(norms)
        loss = (out * self.grad).sum()
        leaves = [q, k, v]
        if s0 is not None:
            loss = loss + (s1 * self.ds1).sum() + (z1 * self.dz1).sum()
            leaves += [s0, z0]
        grads = torch.autograd.grad(loss, leaves)
        return dict(zip(NAMES, [x.detach() for x in (out, s1, z1)] + list(grads)))

    def rotated(self, x, start):
        if self.cos is None:
            return x
        at = slice(start, start + x.shape[0])
        cos, sin = self.cos[at].double().unsqueeze(1), self.sin[at].double().unsqueeze(1)
        one, two = x.chunk(2, -1)
        return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)


def feature(x):
    return torch.where(x > 0, x + 1, x.clamp(-80, 0).exp())


def shown(lengths):
    return f"{len(lengths)} x {lengths[0]}" if len(lengths) > 6 else "+".join(map(str, lengths))


class Call:
    """One variant on one case's inputs in one kind. The last states are asked for where the first ones are given."""

    def __init__(self, library, case, kind):
        self.library, self.case = library, case
        n, h, d, m, s = case.offsets[-1], case.heads, case.d, case.m, len(case.lengths)
        make = lambda *size: torch.full(size, math.nan, dtype=kind, device=DEVICE)
        sums = lambda *size: torch.full(size, math.nan, dtype=torch.float32, device=DEVICE)
        if case.packed:
            qkv, to = make(n, 3, h, d), make(n, 3, h, d)
            for i, x in enumerate((case.q, case.k, case.v)):
                qkv[:, i] = x
            (q, k, v), (dq, dk, dv) = ([x[:, i] for i in range(3)] for x in (qkv, to))
        else:
            q, k, v = (x.to(kind).contiguous() for x in (case.q, case.k, case.v))
            dq, dk, dv = make(n, h, d), make(n, h, d), make(n, h, m)
        grad, out, den = case.grad.to(kind).contiguous(), make(n, h, m), sums(h, n)
        s1, z1, ds0, dz0 = sums(s, h, d, m), sums(s, h, d), sums(s, h, d, m), sums(s, h, d)
        if case.s0 is None:
            s1 = z1 = ds0 = dz0 = None
        tensors = [q, k, v, grad, out, dq, dk, dv, den, case.cos, case.sin, case.decay, case.s0, case.z0]
        tensors += [case.ds1, case.dz1, s1, z1, ds0, dz0]
        self.kept = tensors
        self.results = dict(zip(NAMES, [out, s1, z1, dq, dk, dv, ds0, dz0]))
        numbers = [kind == torch.bfloat16, n, h, d, m, s]
        for x in (q, k, v, grad, dq, dk, dv):
            numbers += [x.stride(0), x.stride(1)]
        integers = lambda all: (ctypes.c_int64 * len(all))(*map(int, all))
        pointers = (ctypes.c_void_p * len(tensors))(*[None if x is None else x.data_ptr() for x in tensors])
        self.c = ctypes.c_void_p()
        starts = integers(case.starts) if case.starts else None
        library.check(library.c.lf_call(
            ctypes.byref(self.c), integers(numbers), pointers, ctypes.c_double(1e-6), integers(case.offsets), starts))

    def forward(self):
        self.library.check(self.library.c.lf_forward(self.c, stream()))

    def backward(self):
        self.library.check(self.library.c.lf_backward(self.c, stream()))

    def both(self):
        self.forward()
        self.backward()

    def all(self):
        self.both()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return {name: x.clone() for name, x in self.results.items() if x is not None}

    def __del__(self):
        if getattr(self, "c", None):
            self.library.c.lf_free(self.c)


def stream():
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream) if DEVICE.type == "cuda" else None


def cases(few=False):
    """Cases for each kind: lengths around chunks and segments, sizes of all tiles, with and without all options."""
    sizes = [(16, 16), (32, 32), (48, 64), (64, 64), (128, 128), (20, 33), (16, 64)]
    lengths = [[1], [63, 64, 0, 65, 2], [200], [513, 1], [1030]] + ([] if few else [[4097]])
    for length in lengths[:2] if few else lengths:
        for d, m in sizes[:4] if few else sizes:
            for full in (False, True):
                yield Case(length, 2, d, m, full, seed=100 * d + m + length[0])
    if few:
        return
    yield Case([i * 7 % 61 for i in range(200)], 4, 32, 32, False, 1)
    yield Case([i * 7 % 61 for i in range(200)], 4, 32, 32, True, 2)
    yield Case([2000, 1, 700], 3, 128, 16, True, 3)
    yield Case([130] * 8, 8, 64, 64, True, 4)
    for d, m in ((2, 1), (7, 127), (33, 65), (3, 50)):
        yield Case([66, 1, 130], 2, d, m, True, 5 + d)


def compare(found, expected, limit, longest):
    """The largest relative error by norm, with its tensor's name; infinite where a number is not finite."""
    worst = (0.0, "")
    for name, x in found.items():
        reference = expected.get(name)
        if reference is None:
            continue
        # Gradients of a single token cancel to nothing: they are compared with the size of their terms.
        floor = 0.1 * math.sqrt(max(1, reference.numel())) if longest <= 2 else 1e-30
        error = ((x.double() - reference).norm() / reference.norm().clamp_min(floor)).item()
        error = error if math.isfinite(error) else math.inf
        worst = max(worst, (error, name))
    return worst


def check(variants, few=False):
    """Holds every variant to the definition; a line for each. The number of variants that fail."""
    libraries = {name: Library(path) for name, path in variants.items()}
    result = {name: {kind: [0, 0, 0.0, "", 0] for kind in KINDS} for name in libraries}
    for case in cases(few):
        expected = case.expected()
        for name, library in libraries.items():
            for kind, (dtype, limit) in KINDS.items():
                line = result[name][kind]
                try:
                    call = Call(library, case, dtype)
                    found = call.all()
                    again = call.all()
                    del call
                except RuntimeError as error:
                    print(f"{name} {kind}: {case.name}: {error}", flush=True)
                    line[0], line[1] = line[0] + 1, line[1] + 1
                    if "illegal" in str(error) or "launch failure" in str(error):
                        print(f"| check | {name} | {kind} | stopped: {error}: {case.name}", flush=True)
                        return 1
                    continue
                error, tensor = compare(found, expected, limit, max(case.lengths))
                same = all(torch.equal(found[x], again[x]) or torch.isnan(found[x]).any() for x in found)
                line[0] += 1
                line[4] += not same
                if not error < limit or not same:
                    line[1] += 1
                    print(f"{name} {kind}: {case.name}: {tensor} {error:.1e}{'' if same else ', other bits again'}", flush=True)
                if error > line[2]:
                    line[2], line[3] = error, f"{tensor}, {case.name}"
    failed = 0
    for name, kinds in result.items():
        for kind, (count, bad, worst, where, unequal) in kinds.items():
            failed += bad > 0
            more = f", {unequal} with other bits again" if unequal else ""
            print(f"| check | {name} | {kind} | {count} cases, {bad} fail{more} | worst {worst:.1e} ({where})")
    return failed


SHAPES = [(8, 8, 4096, 64), (8, 8, 1024, 64), (64, 8, 512, 32), (1024, 8, 32, 32)]


def shape_case(shape):
    b, h, t, d = shape
    return Case([t] * b, h, d, d, False, seed=9)


def shape_name(shape):
    return "B {} H {} T {} D {}".format(*shape)


def octets(shape, kind):
    """Least traffic of a forward call, and of a forward and a backward one."""
    b, h, t, d = shape
    one = b * h * t * d * (2 if kind == torch.bfloat16 else 4)
    return 4 * one, 4 * one + 7 * one


class Clock:
    """Median times by CUDA events, with the cache flushed before each call."""

    def __init__(self):
        self.flush = torch.empty(1 << 27, dtype=torch.float32, device=DEVICE)

    def measure(self, work, rounds=25):
        for _ in range(3):
            work()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
        for start, end in events:
            self.flush.zero_()  # also hides the host's time to queue the call
            start.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return sorted(1000 * start.elapsed_time(end) for start, end in events)[rounds // 2]

    def bandwidth(self):
        """Octets read and written by a copy, per second."""
        half = self.flush.numel() // 2
        us = self.measure(lambda: self.flush[:half].copy_(self.flush[half:]))
        return 8 * half / us * 1e6


def times(variants):
    clock = Clock()
    rate = clock.bandwidth()
    print(f"| ceiling | {torch.cuda.get_device_name()} | copies at {rate / 1e12:.2f} TB/s, read and written", flush=True)
    for shape in SHAPES:
        for kind, (dtype, _) in KINDS.items():
            floors = " / ".join(f"{x / rate * 1e6:.0f}" for x in octets(shape, dtype))
            print(f"| time | {shape_name(shape)} | {kind} | least traffic | {floors} us", flush=True)
            case = shape_case(shape)
            for name, path in variants.items():
                try:
                    call = Call(Library(path), case, dtype)
                    one, two = clock.measure(call.forward), clock.measure(call.both)
                    print(f"| time | {shape_name(shape)} | {kind} | {name} | {one:.1f} / {two:.1f} us", flush=True)
                    del call
                except RuntimeError as error:
                    print(f"| time | {shape_name(shape)} | {kind} | {name} | {error}", flush=True)
                    if "illegal" in str(error) or "launch failure" in str(error):
                        return 1
    return 0


def kernels(variants):
    """Time of each kernel of a call, by CUPTI."""
    from torch.profiler import ProfilerActivity, profile

    for shape in (SHAPES[0], SHAPES[3]):
        for kind in ("bfloat16",) if shape != SHAPES[0] else KINDS:
            case = shape_case(shape)
            for name, path in variants.items():
                call = Call(Library(path), case, KINDS[kind][0])
                call.both()
                torch.cuda.synchronize()
                with profile(activities=[ProfilerActivity.CUDA]) as found:
                    for _ in range(5):
                        call.both()
                    torch.cuda.synchronize()
                events = [event for event in found.key_averages() if "lf::" in event.key]
                lines = [f"{short_name(event.key)} {event.self_device_time_total / 5:.1f}" for event in events]
                print(f"| kernels | {shape_name(shape)} | {kind} | {name} | {', '.join(lines)} us", flush=True)
    return 0


def short_name(text):
    """`forward` of `void lf::cuda::(anonymous namespace)::forward<float, 32, 32>(...)`."""
    for unnamed in ("(anonymous namespace)::", "<unnamed>::", "_GLOBAL__N_::"):
        text = text.replace(unnamed, "")
    words = text.split("(")[0].split("<")[0].split("::")[-1].split()
    return words[-1] if words else text[:40]


def once(path, kind, shape):
    """One call between the marks that ncu waits for."""
    call = Call(Library(path), shape_case(shape), KINDS[kind][0])
    call.both()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    call.both()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
    return 0


def peer(warm=0):
    """flash-linear-attention's operator on the same shapes; to warm a size of heads is to compile for it alone."""
    from fla.ops.linear_attn import chunk_linear_attn

    clock = Clock()
    for shape in SHAPES:
        b, h, t, d = shape
        if warm and d != warm:
            continue
        q, k, v, g = (torch.randn(b, t, h, d, device=DEVICE, dtype=torch.bfloat16) for _ in range(4))
        for x in (q, k, v):
            x.requires_grad_()
        for name, mapped in (("fla with elu + 1", True), ("fla alone", False)):
            f = (lambda x: torch.nn.functional.elu(x) + 1) if mapped else (lambda x: x)

            def forward():
                return chunk_linear_attn(f(q), f(k), v, normalize=mapped)[0]

            def alone():
                with torch.no_grad():
                    forward()

            try:
                if warm:
                    torch.autograd.grad(forward(), (q, k, v), g)
                    torch.cuda.synchronize()
                    continue
                one, two = clock.measure(alone), clock.measure(lambda: torch.autograd.grad(forward(), (q, k, v), g))
                print(f"| time | {shape_name(shape)} | bfloat16 | {name} | {one:.1f} / {two:.1f} us", flush=True)
            except Exception as error:  # other people's compiler
                print(f"| time | {shape_name(shape)} | bfloat16 | {name} | {type(error).__name__}: {str(error)[:100]}", flush=True)
    return 0


def variants_in(folder):
    return {path.stem: path for path in sorted(pathlib.Path(folder).glob("*.so"), key=lambda p: (p.stem != "tree", p.stem))}


def main(args):
    if args[0] in ("peer", "warm"):
        return peer(*map(int, args[1:]))
    if args[0] == "once":
        return once(args[1], args[2], tuple(map(int, args[3].split(","))))
    found = variants_in(os.environ.get("LF_VARIANTS", "build"))
    if args[1:]:
        found = {name: path for name, path in found.items() if name in args[1:]}
    if not found:
        print("no compiled variant")
        return 1
    return {"check": check, "few": lambda v: check(v, True), "times": times, "kernels": kernels}[args[0]](found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
