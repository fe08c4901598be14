"""Fine-tune a model of tcp-train on another dataset.

usage: fine_tune.py DATASET MODEL-FOLDER NEW-FOLDER [ROWS]
"""

import sys

import torch
import torch.nn.functional as F

import tcp_flows

dataset, folder, to, *rows = sys.argv[1:]
most = int(rows[0]) if rows else 1000
model = tcp_flows.Model.load(folder)
train = tcp_flows.Flows(dataset, row_tokens=1024)
held_out = tcp_flows.Flows(dataset, "validation", row_tokens=1024)


def loss(row):
    return F.cross_entropy(model(row["tokens"], row["cu_seqlens"]), row["targets"])


def validate():
    with torch.no_grad():
        print("validation, nats per token:", sum(map(loss, held_out)).item() / len(held_out))


optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
validate()
for number, row in zip(range(most), train):
    optimizer.zero_grad()
    loss(row).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
validate()
model.save(to)
