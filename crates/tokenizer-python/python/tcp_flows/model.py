"""The model of tcp-train in PyTorch: read, score, generate, fine-tune."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ._native import BOS, TOKEN_CODE, TOKEN_VERSION, VOCAB_SIZE, Grammar

CHUNK = 128  # tokens that attend to each other directly; those before them act through a state

State = tuple  # place of the next token, and for each block its convolution's tail and its memory


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the config.json of a model's folder."""
    return json.loads(pathlib.Path(folder, "config.json").read_text())


class Model(nn.Module):
    """A causal model of tokens with linear attention.

    Shapes: B sequences, T tokens, V token ids. The weights have the names of the file, so that its tensors are the state_dict.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """config: the architecture, as the key "model" of config.json has it."""
        super().__init__()
        self.config = config
        width, vocab_size = config["width"], config["vocab_size"]
        self.embed = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config["layers"]))
        self.norm = norm(config)
        self.head = None if config["tied"] else nn.Linear(width, vocab_size, bias=config["bias"])

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Model:
        """Read a model that tcp-train wrote: a folder with config.json and model.safetensors."""
        from safetensors.torch import load_file

        config = read_config(folder)
        found = config["token_code"], config["token_version"], config["model"]["vocab_size"]
        if found != (TOKEN_CODE, TOKEN_VERSION, VOCAB_SIZE):
            expected = f"{TOKEN_CODE} version {TOKEN_VERSION} with {VOCAB_SIZE} ids"
            raise ValueError(f"{folder}: tokens: expected {expected}, found {found[0]} version {found[1]} with {found[2]}")
        model = cls(config["model"])
        model.load_state_dict(load_file(pathlib.Path(folder, "model.safetensors")), strict=True)
        model.folder_config = config
        return model.to(device)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model into a new folder, which tcp-train reads. The model has to be one that was loaded."""
        from safetensors.torch import save_file

        folder = pathlib.Path(folder)
        folder.mkdir()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        about = json.dumps({"format": "pt", "config": self.config})
        save_file(tensors, folder / "model.safetensors", metadata={"linformer": about})
        (folder / "config.json").write_text(json.dumps(self.folder_config, indent=2) + "\n")

    def forward(self, tokens: torch.Tensor, cu_seqlens: torch.Tensor | None = None) -> torch.Tensor:
        """Score the next token after each: int64 [B, T] to float [B, T, V], or [N] to [N, V].

        cu_seqlens, int32 [B + 1]: offsets of B sequences that are packed into [N]; no token sees another sequence's.
        """
        if cu_seqlens is not None:
            return self._packed(tokens, cu_seqlens.tolist())
        scores, _ = self.step(tokens if tokens.dim() == 2 else tokens[None])
        return scores if tokens.dim() == 2 else scores[0]

    def step(self, tokens: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Score the next token after each of [B, T], and return the state that goes on from there.

        state: the one that the call for the tokens before returned; None at the beginning of the sequences.
        """
        layers = [None] * len(self.blocks) if state is None else state[1]
        place = 0 if state is None else state[0]
        x, after = self.embed(tokens), []
        for block, layer in zip(self.blocks, layers):
            x, layer = block(x, place, layer)
            after.append(layer)
        x = self.norm(x)
        scores = x @ self.embed.weight.T if self.head is None else self.head(x)
        return scores, (place + tokens.shape[1], after)

    def _packed(self, tokens: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        """Sequences of about one length share a batch: little of it is padding."""
        spans = sorted(zip(offsets, offsets[1:]), key=lambda span: span[1] - span[0])
        pieces = []
        while spans:
            longest = spans[-1][1] - spans[-1][0]
            group = [span for span in spans if 2 * (span[1] - span[0]) > longest]
            spans = spans[: len(spans) - len(group)]
            rows = nn.utils.rnn.pad_sequence([tokens[begin:end] for begin, end in group], batch_first=True)
            scored, _ = self.step(rows)
            pieces += [(begin, end, scored[i, : end - begin]) for i, (begin, end) in enumerate(group)]
        pieces.sort(key=lambda piece: piece[0])
        return torch.cat([scored for _, _, scored in pieces])

    def bits(self, tokens: Iterable[int]) -> float:
        """The cost of a flow in bits, as `tcp-train score` has it: -log2 of its probability after its first token."""
        tokens = torch.as_tensor([int(token) for token in tokens], device=self.embed.weight.device)
        with torch.no_grad():
            nats = F.cross_entropy(self(tokens[:-1]), tokens[1:], reduction="none")
        return nats.double().sum().item() / math.log(2)

    @torch.no_grad()
    def generate(
        self,
        prompt: Iterable[int] = (BOS,),
        *,
        grammar: Grammar | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        max_tokens: int | None = None,
    ) -> Iterator[int]:
        """Generate the tokens of one flow, one after another; yields each, the prompt's first.

        grammar: a Grammar that was not used yet; by default one of whole sessions. Its mask decides what may be drawn.
        temperature: divides the scores; 0 takes the likeliest token.
        generator: a torch.Generator; the same seed gives the same flow.
        """
        grammar = Grammar() if grammar is None else grammar
        state, pending = None, list(prompt)
        for token in pending:
            grammar.push(token)
            yield token
        while not grammar.is_done and (max_tokens is None or len(grammar) < max_tokens):
            scores, state = self.step(torch.tensor([pending], device=self.embed.weight.device), state)
            allowed = torch.from_numpy(grammar.allowed_mask())
            scores = scores[0, -1].cpu().masked_fill(~allowed, -math.inf)
            if temperature == 0:
                token = int(scores.argmax())
            else:
                token = int(torch.multinomial(F.softmax(scores / temperature, 0), 1, generator=generator))
            grammar.push(token)
            pending = [token]
            yield token


class Block(nn.Module):
    """Attention, then the feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, config):
        super().__init__()
        self.attention_norm, self.attention = norm(config), Attention(config)
        self.feed_norm, self.feed = norm(config), Feed(config)

    def forward(self, x, place, state):
        mixed, state = self.attention(self.attention_norm(x), place, state)
        x = x + mixed
        return x + self.feed(self.feed_norm(x)), state


class Attention(nn.Module):
    """Causal linear attention with decay. The state of a layer is of one size, however many tokens went before."""

    def __init__(self, config):
        super().__init__()
        width, bias = config["width"], config["bias"]
        self.heads, self.eps, self.taps = config["heads"], config["attention_eps"], config["conv"]
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)
        self.gate = nn.Linear(width, width, bias=bias) if config["gate"] else None
        self.conv = nn.Conv1d(3 * width, 3 * width, self.taps, groups=3 * width, bias=False) if self.taps else None
        self.is_selective = config["decay"] == "selective"
        if self.is_selective:
            self.dt_proj = nn.Linear(width, self.heads, bias=False)
            self.dt_bias, self.A_log = (nn.Parameter(torch.zeros(self.heads)) for _ in range(2))
        else:
            self.register_buffer("decay", decays(config).log(), persistent=False)

    def forward(self, x, place, state):  # x [B, T, width]
        batch, tokens, width = x.shape
        tail, memory = (None, None) if state is None else state
        qkv = self.qkv(x)
        if self.conv is not None:
            before = qkv.new_zeros(batch, self.taps - 1, 3 * width) if tail is None else tail
            padded = torch.cat([before, qkv], 1)
            tail = padded[:, padded.shape[1] - (self.taps - 1) :]
            qkv = self.conv(padded.transpose(1, 2)).transpose(1, 2)
        q, k, v = qkv.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [B, H, T, D]
        q, k = (F.elu(rotate(x, place)) + 1 for x in (q, k))
        mixed, memory = self.mix(q, k, v, self.log_decay(x), memory)
        mixed = mixed.permute(0, 2, 1, 3).reshape(batch, tokens, width)
        if self.gate is not None:
            mixed = mixed * F.silu(self.gate(x))
        return self.out(mixed), (tail, memory)

    def log_decay(self, x):
        """The logarithm of what is left of a head's state after a token: float64 [B, H, T]."""
        if not self.is_selective:
            return self.decay[:, None].expand(len(x), -1, x.shape[1])
        dt = self.dt_proj(x) + self.dt_bias
        return -(self.A_log.exp() * F.softplus(dt)).double().transpose(1, 2)

    def mix(self, q, k, v, log_decay, memory):
        """The decayed mean of the values before each token, weighted by q k; a last column of ones sums the weights."""
        v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        if memory is None:
            memory = v.new_zeros(*v.shape[:2], k.shape[-1], v.shape[-1])  # [B, H, D, D + 1]
        mixed = []
        for q, k, v, log_decay in zip(*(x.split(CHUNK, 2) for x in (q, k, v, log_decay))):
            total = log_decay.cumsum(-1)[..., None]  # [B, H, size, 1]: from before the chunk to after each token
            within = (total - total.transpose(-1, -2)).tril().exp().tril().to(q.dtype)
            since, until = total.exp().to(q.dtype), (total[..., -1:, :] - total).exp().to(q.dtype)
            sums = ((q @ k.transpose(-1, -2)) * within) @ v + (q * since) @ memory
            memory = memory * since[..., -1:, :] + (k * until).transpose(-1, -2) @ v
            mixed.append(sums[..., :-1] / (sums[..., -1:] + self.eps))
        return torch.cat(mixed, 2), memory


class Feed(nn.Module):
    """The feed-forward layer."""

    def __init__(self, config):
        super().__init__()
        width, feed, self.is_gated = config["width"], config["feed"], config["activation"] == "swiglu"
        self.up = nn.Linear(width, 2 * feed if self.is_gated else feed, bias=config["bias"])
        self.down = nn.Linear(feed, width, bias=config["bias"])

    def forward(self, x):
        up = self.up(x)
        if self.is_gated:
            gate, value = up.chunk(2, -1)
            return self.down(F.silu(gate) * value)
        return self.down(F.gelu(up))


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def norm(config):
    width, eps = config["width"], config["norm_eps"]
    if config["norm"] == "rms":
        return RmsNorm(width, eps)
    layer = nn.LayerNorm(width, eps)
    if not config["bias"]:
        layer.register_parameter("bias", None)
    return layer


def rotate(x, place):
    """Rotary position of [B, H, T, D] from token `place` on; pair i is elements i and i + D / 2."""
    half = x.shape[-1] // 2
    at = torch.arange(place, place + x.shape[2], dtype=torch.float64, device=x.device)[:, None]
    turn = at * 10000.0 ** (-torch.arange(half, device=x.device) / half)
    cos, sin = turn.cos().to(x.dtype), turn.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def decays(config):
    """What is left of a head's state after a token, if all tokens leave the same: float64 [H]."""
    heads = config["heads"]
    if config["decay"] == "none":
        return torch.ones(heads, dtype=torch.float64)
    fixed = [1 - 2.0 ** (-2 - 6 * h / (heads - 1)) for h in range(heads - 1)] + [1.0]
    return torch.tensor(fixed, dtype=torch.float64)
