"""What models say of flows: embeddings, bits, the captures that they were trained on, and how long a verdict takes."""

import json
import time

import numpy as np
import pyarrow.parquet as pq

import features
import flows
import learners

AT = [3, 5, 10, 20, 30]
RANDOM = "{}, random weights"
COLUMN = "embedding"


def toml(settings):
    """Settings of config.json as tcp-train's --config takes them: values, then tables."""
    def lines(values):
        return [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    out = lines(settings)
    for key, value in settings.items():
        if isinstance(value, dict):
            out += [f"[{key}]", *lines(value)]
    return "\n".join(out) + "\n"


def random_weights(model, a):
    """A model folder with the weights that training of this model begins with: one step, too small to change any."""
    folder, config = a.out / f"random-{model.name}", a.out / f"random-{model.name}.toml"
    if not folder.exists():
        settings = json.loads((model / "config.json").read_text())["settings"]
        config.write_text(toml(settings | {"max_steps": 1, "learning_rate": 1e-30, "warm_up": 0.0, "validation_share": 0.0, "test_share": 0.0}))
        flows.run(a.programs / "tcp-train", "train", "--quiet", "--config", config, "--input-dir", testdata(a), "--output-dir", folder, "--threads", 2)
    return folder


def testdata(a):
    """Some flows of testdata as a dataset: what vectors are whitened by, so that no flow that is judged has a part in it."""
    dataset = a.out / "testdata.parquet"
    if not dataset.exists():
        flows.run(a.programs / "tcp-encode", "--quiet", "--force", a.testdata, a.out / "testdata-whole.parquet", accept=(0, 1))
        table = pq.read_table(a.out / "testdata-whole.parquet")
        pq.write_table(table.take(np.arange(0, table.num_rows, 5)), dataset)
    return dataset


def embed(model, dataset, target, a):
    flows.run(a.programs / "tcp-train", "embed", model, dataset, target, "--at", ",".join(map(str, AT)), "--whiten-by", testdata(a), "--force", "--quiet",
              "--threads", 2)


def vectors(path, flows, asked):
    """The columns of vectors of a file, by the number of packets ("" at the end); zeros for the flows that were not asked for."""
    found, views = pq.read_table(path), {}
    if found["first_frame"].to_pylist() != flows["first_frame"].take(asked).to_pylist():
        raise ValueError(f"{path}: expected the flows that were asked for, found others")
    for name in found.column_names:
        if name == COLUMN or name.startswith(COLUMN + "_"):
            column = found[name].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
            views[name[len(COLUMN) + 1:]] = np.zeros((flows.num_rows, values.shape[1]), np.float32)
            views[name[len(COLUMN) + 1:]][asked] = values
    return views


def load(name, asked, flows, a, say):
    """The vectors of each model for some flows of a dataset."""
    found, dataset = {}, a.out / f"{name}-asked.parquet"
    if a.models:
        pq.write_table(flows.take(asked), dataset)
    for model_name, folder in a.models:
        for label, weights in ((model_name, folder), (RANDOM.format(model_name), random_weights(folder, a))):
            say(f"{name}: embedding by {label}")
            target = a.out / f"{name}-{label.replace(', ', '-').replace(' ', '-')}.parquet"
            embed(weights, dataset, target, a)
            found[label] = vectors(target, flows, asked)
    return found


def contamination(task, hashes, captures, a):
    """How many of the captures that are tested each model was trained on, by the hashes in its folder."""
    tested = {captures[i] for folds in task.tests.values() for _, test in folds for i in test}
    out = {}
    for name, folder in a.models:
        listed = folder / "captures.sha256"
        if listed.exists():
            known = set(listed.read_text().split())
            out[name] = [sum(hashes[capture] in known for capture in tested), len(tested)]
    return out


def bits(data, asked, a, say):
    """Bits per packet of some flows under each model; nan for the flows that were not asked for."""
    out, numbered = {}, a.out / "numbered.parquet"
    names = [[str(i) for i in asked]]
    table = data.flows.take(asked)
    pq.write_table(table.set_column(table.schema.get_field_index("source"), "source", names), numbered)
    tokens = [np.asarray(t).tobytes() for t in data.flows["tokens"].to_numpy()]
    for name, folder in a.models:
        say(f"T4: bits by {name}")
        lines = flows.run(a.programs / "tcp-train", "score", "--checkpoint-path", folder, "--input-dir", numbered, "--quiet", "--threads", 2).splitlines()
        scored = [json.loads(line) for line in lines]
        by_tokens = {tokens[int(s["source"])]: s["bits"] / s["packets"] for s in scored}
        by_sequence = {data.keys[int(s["source"])]: s["bits"] / s["packets"] for s in scored}
        out[name] = np.full(len(tokens), np.nan)
        # A flow that differs from many others in time alone is not scored, and gets the bits of one of them.
        out[name][asked] = [by_tokens.get(tokens[i], by_sequence.get(data.keys[i], np.nan)) for i in asked]
        out[name][asked] = np.where(np.isnan(out[name][asked]), np.nanmedian(out[name]), out[name][asked])
    return out


def speed(folder, captures, classes, a, say):
    """Flows and packets a second from captures to verdicts, one of the `classes` of a table of flows: by the forest, and by a linear
    probe of each model."""
    out, again = {}, a.out / "speed.parquet"
    flows.encode(a.programs, folder, captures, again)
    table = pq.read_table(again)
    y = classes(table)

    def timed(name, verdicts):
        say(f"speed: {name}")
        begin = time.monotonic()
        count = verdicts()
        seconds = time.monotonic() - begin
        out[name] = {"flows": table.num_rows / seconds, "packets": count / seconds}

    def encoded():
        flows.encode(a.programs, folder, captures, again)
        return pq.read_table(again)

    def by_forest():
        packets = flows.packets(a.programs, encoded(), a.out)
        learner.predict((features.series(packets) + features.syn_fields(packets)).values)
        return len(packets.gap)

    packets, everything = flows.packets(a.programs, table, a.out), np.arange(table.num_rows)
    learner = learners.fitted_forest((features.series(packets) + features.syn_fields(packets)).values, y)
    timed("forest, SYN fields", by_forest)
    for name, model in a.models:
        target = a.out / "speed-embedded.parquet"
        embed(model, again, target, a)
        probe = learners.fitted_probe(vectors(target, table, everything)[""], y)

        def by_probe():
            encoded()
            flows.run(a.programs / "tcp-train", "embed", model, again, target, "--whiten-by", testdata(a), "--force", "--quiet", "--threads", 2)
            probe.predict(vectors(target, table, everything)[""])
            return len(packets.gap)

        timed(f"{name}, linear probe", by_probe)
    return out
