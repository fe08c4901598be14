# %% [markdown]
# Flows of captures as a table, plotted. Open in Jupyter (with jupytext) or an editor with cells, or run:
# `python explore.py CAPTURES`, which writes flows.svg. Needs numpy, pyarrow and matplotlib.

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.compute as pc

import tcp_flows

captures = sys.argv[1] if len(sys.argv) > 1 else "testdata"
flows = tcp_flows.encode(captures, keep="all")
print(*flows.group_by("class").aggregate([("tokens", "count"), ("server_octets", "sum")]).to_pylist(), sep="\n")

# %%
figure, ((durations, sizes), (tokens, allowed)) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for name in sorted(set(flows["class"].to_pylist())):
    seconds = np.sort(flows.filter(pc.field("class") == name)["duration"].to_numpy()) / 1e9
    durations.step(np.maximum(seconds, 1e-6), np.linspace(0, 1, len(seconds)), label=name)
durations.set(xscale="log", xlabel="duration in seconds", ylabel="share of flows")
durations.legend()

# %%
packets = pc.add(flows["client_packets"], flows["server_packets"]).to_numpy()
sizes.loglog(packets, pc.add(flows["client_octets"], flows["server_octets"]).to_numpy() + 1, ".")
sizes.set(xlabel="packets", ylabel="octets of payload")
lengths = pc.list_value_length(flows["tokens"]).to_numpy()
tokens.semilogx(packets, lengths / packets, ".")
tokens.set(xlabel="packets", ylabel="tokens per packet")

# %%
# How many tokens a session allows after each of its tokens: the fewer, the less a model has to learn.
whole = flows.filter(pc.field("class") == "graceful")["tokens"]
flow = whole[int(np.argmax(pc.list_value_length(whole).to_numpy() > 200))].as_py()
grammar, counts = tcp_flows.Grammar("syntax"), []
for token in flow:
    counts.append(grammar.allowed_mask().sum())
    grammar.push(token)
allowed.plot(counts, linewidth=0.7)
allowed.set(xlabel="token of a flow", ylabel=f"tokens allowed, of {tcp_flows.VOCAB_SIZE}")

# %%
figure.savefig("flows.svg")
