"""Read a model folder in PyTorch and score tokens: python docs/read_model.py MODEL-FOLDER TOKEN...

Needs torch and safetensors. Written to be read: one sequence, the whole of it at once, T x T scores.
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Model:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.config = json.loads((folder / "config.json").read_text())["settings"]["model"]
        self.weights = load_file(folder / "model.safetensors")

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name, x):
        weight, eps = self.weights[f"{name}.weight"], self.config["norm_eps"]
        if self.config["norm"] == "rms":
            return F.rms_norm(x, weight.shape, weight, eps)
        return F.layer_norm(x, weight.shape, weight, self.weights.get(f"{name}.bias"), eps)

    def attention(self, name, x):  # x [T, width]
        c, (tokens, width) = self.config, x.shape
        qkv = self.linear(f"{name}.qkv", x)
        if c["conv"]:
            weight = self.weights[f"{name}.conv.weight"]
            qkv = F.conv1d(F.pad(qkv.T[None], (c["conv"] - 1, 0)), weight, groups=3 * width)[0].T
        q, k, v = qkv.view(tokens, 3, c["heads"], -1).permute(1, 2, 0, 3)  # each [H, T, D]
        q, k = (F.elu(rotate(x)) + 1 for x in (q, k))
        total = self.log_decay(name, x).double().T.cumsum(-1)  # [H, T]
        left = (total[:, :, None] - total[:, None]).tril().exp()
        scores = (q @ k.mT) * left.float().tril()
        mixed = scores @ v / (scores.sum(-1, keepdim=True) + c["attention_eps"])
        mixed = mixed.permute(1, 0, 2).reshape(tokens, width)
        if c["gate"]:
            mixed = mixed * F.silu(self.linear(f"{name}.gate", x))
        return self.linear(f"{name}.out", mixed)

    def log_decay(self, name, x):  # [T, H]: logarithm of what is left of a head's state after a token
        if self.config["decay"] != "selective":
            return decays(self.config).log().expand(len(x), -1)
        dt = F.linear(x, self.weights[f"{name}.dt_proj.weight"], self.weights[f"{name}.dt_bias"])
        return -self.weights[f"{name}.A_log"].exp() * F.softplus(dt)

    def feed(self, name, x):
        up = self.linear(f"{name}.up", x)
        if self.config["activation"] == "swiglu":
            gate, value = up.chunk(2, -1)
            up = F.silu(gate) * value
        else:
            up = F.gelu(up)
        return self.linear(f"{name}.down", up)

    def __call__(self, tokens):  # [T] -> scores of the next token, [T, vocabulary]
        x = self.weights["embed.weight"][tokens]
        for i in range(self.config["layers"]):
            x = x + self.attention(f"blocks.{i}.attention", self.norm(f"blocks.{i}.attention_norm", x))
            x = x + self.feed(f"blocks.{i}.feed", self.norm(f"blocks.{i}.feed_norm", x))
        x = self.norm("norm", x)
        return x @ self.weights["embed.weight"].T if self.config["tied"] else self.linear("head", x)


def rotate(x):  # [H, T, D]; pair i is elements i and i + D / 2
    half = x.shape[-1] // 2
    turn = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = turn.cos().float(), turn.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def decays(config):  # [H]: what is left of a head's state after a token, if all tokens leave the same
    heads = config["heads"]
    if config["decay"] == "none":
        return torch.ones(heads, dtype=torch.float64)
    return torch.tensor([1 - 2.0 ** (-2 - 6 * h / (heads - 1)) for h in range(heads - 1)] + [1.0], dtype=torch.float64)


if __name__ == "__main__":
    model = Model(sys.argv[1])
    torch.set_printoptions(precision=8, threshold=10_000_000, linewidth=10_000, sci_mode=False)
    with torch.no_grad():
        scores = model(torch.tensor([int(token) for token in sys.argv[2:]]))
    for row in scores.tolist():
        print(*row)
