"""Programs killed at random moments, and what they leave."""
import random
import shutil
import time

from harness import SHORT, Run, run, names, leftovers, same, weights


def killed_at_random(scratch, finished, *command, times=5):
    """Kills a command at random moments; what stands under a final name then is whole. Then it runs, and is whole."""
    straight = time.monotonic()
    run(*command).must(0)
    straight = time.monotonic() - straight
    reference = scratch.parent / "reference"
    shutil.copytree(scratch, reference)
    left = 0
    for _ in range(times):
        shutil.rmtree(scratch)
        scratch.mkdir()
        one = Run(*command)
        time.sleep(random.uniform(0.02, straight * 1.05))
        one.kill()
        for name in names(scratch):
            assert same(scratch / name, reference / name), f"{name}: half a file under its final name"
        left += len(leftovers(scratch))
        if names(scratch) != names(reference):
            shutil.rmtree(scratch / finished, ignore_errors=True) if (scratch / finished).is_dir() else None
            run(*command).must(0)
            assert leftovers(scratch) == [], f"left over: {leftovers(scratch)}"
        assert same(scratch, reference), "the next run gave something else"
    return f"{times} kills within {straight:.2f} s, {left} unfinished files left and cleared away by the next run"


def kill_encode(inputs, work):
    out = work / "out"
    out.mkdir()
    return killed_at_random(out, "set", "tcp-encode", "-q", "--force", inputs.captures, out / "set", "--flow-log", out / "log.jsonl")


def kill_decode(inputs, work):
    out = work / "out"
    out.mkdir()
    return killed_at_random(out, "x", "tcp-decode", "-q", "--force", inputs.dataset, out / "x.pcap", "--labels", out / "labels.csv")


def kill_generate(inputs, work):
    out = work / "out"
    out.mkdir()
    args = ("generate", "--checkpoint-path", inputs.model, "--output-dir", out / "set", "--flows", "60", "--seed", "3",
            "--max-packets-per-flow", "30", "--threads", "1", "--force")
    return killed_at_random(out, "set", "tcp-train", *args, times=4)


def kill_train(inputs, work):
    args = ["--input-dir", inputs.dataset]
    begun = time.monotonic()
    run("tcp-train", "train", *args, "--output-dir", work / "straight", *SHORT).must(0)
    straight = time.monotonic() - begun
    model, kills = work / "killed", 0
    for _ in range(6):
        resume = (model / "checkpoint.safetensors").exists()
        begin = ["resume", "--checkpoint-path", model, "--threads", "1"] if resume else ["train", "--force", *SHORT]
        one = Run("tcp-train", begin[0], *args, "--output-dir", model, *begin[1:])
        time.sleep(random.uniform(0.1, straight))
        if one.alive():
            kills += 1
        one.kill()
    if (model / "checkpoint.safetensors").exists():
        run("tcp-train", "resume", *args, "--checkpoint-path", model, "--output-dir", model, "--threads", "1").must(0)
    else:
        run("tcp-train", "train", *args, "--output-dir", model, "--force", *SHORT).must(0)
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert weights(model / name) == weights(work / "straight" / name), f"{name}: not as without the kills"
    return f"{kills} kills and resumes, the same weights bit for bit as without"
