"""The kernels and the programs on a machine with a GPU, with nothing to build but the variants' kernels.

usage: ./run [--seconds N] [--only STEP,...]

Each step runs under a time-out with its log in logs/; a step that fails stops no other. The table comes last. With OUT
set, the logs and the table are left there too. steps: see STEPS. Exit code: 0 if every step passed, else 1.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS, BUILD = ROOT / "logs", ROOT / "build"
LONGEST_TABLE = 11_000  # octets


def environment():
    """The environment of all steps: where torch's libraries are, and packages that came along."""
    env = dict(os.environ, PYTHONUNBUFFERED="1", LF_VARIANTS=str(BUILD), CUDA_MODULE_LOADING="LAZY")
    code = "import torch; print(torch.__path__[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"run: {sys.executable} cannot import torch: {done.stderr.strip().splitlines()[-1]}")
    torch = pathlib.Path(done.stdout.strip())
    folders = [torch / "lib", torch.parent / "nvidia/cu13/lib", *env.get("LD_LIBRARY_PATH", "").split(":")]
    env["LD_LIBRARY_PATH"] = ":".join(str(folder) for folder in folders if str(folder))
    packages = [str(ROOT / "packages"), env.get("PYTHONPATH", "")]
    env["TRITON_CACHE_DIR"] = str(BUILD / "triton")
    env["PYTHONPATH"] = ":".join(filter(None, packages))
    return env


class Run:
    def __init__(self, seconds, only):
        self.began, self.seconds, self.only = time.monotonic(), seconds, only
        self.env, self.rows, self.failed, self.hung, self.number = environment(), [], [], set(), 0
        self.background = []
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir()

    def left(self):
        return self.seconds - (time.monotonic() - self.began)

    def signal_background(self, number):
        for job in self.background:
            if job.poll() is None:
                job.send_signal(number)

    def timed(self, *args, **options):
        """A step whose times count: what runs behind the steps stands still."""
        self.signal_background(signal.SIGSTOP)
        try:
            return self.step(*args, **options)
        finally:
            self.signal_background(signal.SIGCONT)

    def step(self, name, command, limit, env=None, wanted=True):
        """Runs a command under a time-out; its lines that begin with `| ` go into the table."""
        if self.only and name.split(":")[0] not in self.only or not wanted:
            return None
        limit = int(min(limit, self.left() - 3))
        self.number += 1
        log = LOGS / f"{self.number:02}-{name.replace(':', '-').replace(' ', '-')}.log"
        if limit < 5:
            self.rows.append(f"| step | {name} | not run: no time left")
            self.failed.append(name)
            return None
        start = time.monotonic()
        whole = ["timeout", "--kill-after=5", str(limit), *map(str, command)]
        with open(log, "w") as sink:
            sink.write(f"$ {' '.join(map(str, command))}\n")
            sink.flush()
            try:
                code = subprocess.run(whole, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=env or self.env, cwd=ROOT).returncode
            except OSError as error:
                sink.write(f"{error}\n")
                code = 127
        self.end(name, code, time.monotonic() - start, limit, log)
        return log.read_text(errors="replace")

    def end(self, name, code, took, limit, log):
        text = log.read_text(errors="replace")
        self.rows += [line for line in text.splitlines() if line.startswith("| ")]
        told = f"ended after its {limit} s" if code in (124, 137) else f"exit code {code}"
        self.rows.append(f"| step | {name} | {took:.0f} s | {'passed' if code == 0 else told}")
        if code in (124, 137):
            self.hung.add(name)
        if code:
            self.failed.append(name)
            last = [line for line in text.splitlines()[1:] if line.strip() and not line.startswith("| ")][-4:]
            self.rows += [f"|   {line[:180]}" for line in last]
        print(f"== {name}: {code} after {took:.0f} s, {self.left():.0f} s left", flush=True)
        self.keep()

    def keep(self):
        """Leaves logs and table where they come back from."""
        (LOGS / "table.txt").write_text("\n".join(self.rows) + "\n")
        out = os.environ.get("OUT")
        if out:
            with tarfile.open(pathlib.Path(out) / "logs.tar.gz", "w:gz") as archive:
                archive.add(LOGS, "logs")
            shutil.copy(LOGS / "table.txt", out)


def sources():
    """Each variant's folder of kernels: those that the project has, and those beside them."""
    found = {"tree": ROOT / "csrc/cuda"}
    variants = ROOT / "variants"
    if variants.is_dir():
        found.update({path.name: path for path in sorted(variants.iterdir()) if path.is_dir()})
    return found


def compiler():
    """nvcc's command line up to the source, or none; on the CPU, that of g++."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    return nvcc if os.access(nvcc, os.X_OK) else None


def start_compiling(run, gpu):
    """Compiles all variants at once, behind the other steps."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir()
    jobs = {}
    for name, folder in sources().items():
        if not gpu and name != "tree":
            continue  # the emulation is that of the project's kernels
        # A variant's own files come first, then the project's.
        includes = [f"-I{folder}", f"-I{ROOT / 'csrc/cuda'}", f"-I{ROOT / 'tests/emulation'}", f"-I{ROOT / 'gpu'}"]
        target = BUILD / f"{name}.so.new"
        if gpu:
            face = folder / "face.cu" if (folder / "face.cu").exists() else ROOT / "gpu/face.cu"
            command = [compiler() or "nvcc", "-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC", "-lineinfo", "-cudart", "none"]
            command += ["-gencode=arch=compute_90a,code=sm_90a", "-Xptxas=-v", "-o", target, *includes, face]
        else:
            command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-o", target, *includes, ROOT / "gpu/face.cpp"]
        log = open(LOGS / f"compile-{name}.log", "w")
        try:
            jobs[name] = (subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=run.env), time.monotonic(), log)
        except OSError as error:
            run.rows.append(f"| compile | {name} | {error}")
            run.failed.append(f"compile {name}")
    return jobs


def end_compiling(run, jobs):
    for name, (job, start, log) in jobs.items():
        try:
            code = job.wait(timeout=max(1, min(120, run.left())))
        except subprocess.TimeoutExpired:
            job.kill()
            code = "time-out"
        log.close()
        text = (LOGS / f"compile-{name}.log").read_text(errors="replace")
        if code == 0:
            (BUILD / f"{name}.so.new").rename(BUILD / f"{name}.so")
        else:
            run.failed.append(f"compile {name}")
            errors = [line for line in text.splitlines() if "error" in line] or text.splitlines()
            run.rows += [f"|   {line[:180]}" for line in errors[:4]]
        registers = [int(part.split()[0]) for part in text.split("Used ")[1:]]
        spilled = sum(int(line.split(" bytes spill stores")[0].split()[-1]) for line in text.splitlines() if "bytes spill stores" in line)
        more = f", registers at most {max(registers)}, {spilled} octets spilled" if registers else ""
        run.rows.append(f"| compile | {name} | {'compiled' if code == 0 else f'failed: {code}'} after {time.monotonic() - start:.0f} s{more}")
    run.keep()


def start_warming(run, python):
    """Has the peer compile its kernels behind the steps that take no times: a process for each size of heads."""
    for size in ("64", "32"):
        with open(LOGS / f"peer-compile-{size}.log", "w") as log:
            run.background.append(subprocess.Popen([*python, "warm", size], stdout=log, stderr=log, env=run.env, cwd=ROOT))


def end_warming(run):
    """Waits for it, but not so long that nothing is left for the steps behind."""
    for job in run.background:
        try:
            job.wait(timeout=max(1, min(90, run.left() - 150)))
        except subprocess.TimeoutExpired:
            job.kill()
            run.rows.append("| peer | its kernels were not compiled in time")
    run.background = []


def variants():
    """What was compiled, the project's own kernels first."""
    return sorted(BUILD.glob("*.so"), key=lambda path: (path.stem != "tree", path.stem))


def training(run, gpu):
    """Training and scoring on the GPU beside the CPU: losses, bits and tokens in a second."""
    base = ["bin/tcp-train", "train", "--input-dir", "data.arrow", "--batch", "16384", "--seed", "1", "--force", "--max-minutes", "0"]
    runs = {"cpu": ["--device", "cpu"]}
    if gpu:
        runs = {"cuda": ["--device", "cuda"], "cuda bf16": ["--device", "cuda", "--precision", "bf16"], **runs}
    losses = {}
    for preset, few in (("tiny", 20), ("base", 4)) if gpu else (("tiny", 20),):
        # The learning rate depends on the number of steps, and on the clock unless `--max-minutes` is 0: losses are compared over as
        # many steps, speed is that of more.
        compared = {(name, few): flags for name, flags in runs.items()}
        timed = {(name, 60): flags for name, flags in runs.items() if name != "cpu"}
        for (name, steps), flags in {**compared, **timed}.items():
            folder = f"build/{preset}-{name.replace(' ', '-')}-{steps}"
            command = [*base, "--preset", preset, "--output-dir", folder, *flags, "--max-steps", str(steps)]
            run.timed(f"train:{preset} {name}", command, 60)
            lines = metrics(ROOT / folder / "metrics.jsonl")
            if steps == few:
                losses[preset, name] = [line["loss"] for line in lines]
            if name != "cpu" and steps == few:
                continue
            if len(lines) > 2:
                first = lines[min(10, len(lines) // 2)]
                seconds = lines[-1]["seconds"] - first["seconds"]
                rate = (lines[-1]["tokens"] - first["tokens"]) / max(seconds, 1e-9)
                run.rows.append(f"| train | {preset} | {name} | {len(lines)} steps | last loss {lines[-1]['loss']:.4f} | {rate:.0f} tokens/s")
        for name in ("cuda", "cuda bf16"):
            pair = list(zip(losses.get((preset, name), []), losses.get((preset, "cpu"), [])))
            if pair:
                worst = max(abs(a / b - 1) for a, b in pair)
                run.rows.append(f"| train | {preset} | {name} beside cpu | losses of {len(pair)} steps differ by {100 * worst:.3f} % at most")
                if worst > 0.01:
                    run.failed.append(f"train {preset} {name}: losses")


def generating(run, gpu):
    """Generation on the GPU beside the CPU: how many flows are the same, and packets in a second."""
    decoder = run.step("decoder", ["bin/bench_decoder", "0.4"], 40, wanted=gpu) or ""
    run.rows += [f"| decoder | {line}" for line in decoder.splitlines()[1:]]
    base = ["bin/tcp-train", "--json", "--quiet", "generate", "--max-packets-per-flow", "100", "--force"]
    for device, batch in [("cuda", 64), ("cuda", 5)] * gpu + [("cpu", 64)]:
        out = ["--output-dir", f"build/flows-{device}-{batch}.arrow", "--device", device, "--batch", batch]
        run.step(f"generate:tiny {device} {batch}", [*base, "--checkpoint-path", "models/tiny", "--flows", "2000", *out], 60)
    if gpu:
        compare(run)
    # A model that has seen little generates as fast as one that has seen much.
    model = ["bin/tcp-train", "train", "--input-dir", "data.arrow", "--preset", "small", "--batch", "16384", "--max-steps", "60"]
    run.step("generate:train small", [*model, "--output-dir", "build/small", "--force", "--device", "cuda" if gpu else "cpu"], 60)
    for device, batch, packets in [("cuda", n, 400_000) for n in (64, 256)] * gpu + [("cpu", 64, 60_000)]:
        command = [*base, "--checkpoint-path", "build/small", "--packets", packets, "--device", device, "--batch", batch]
        text = run.step(f"generate:small {device} {batch}", [*command, "--output-dir", "build/speed.arrow"], 60) or ""
        for summary in (json.loads(line) for line in text.splitlines() if line.startswith("{")):
            packets, tokens = (summary[name] / summary["seconds"] for name in ("packets", "tokens"))
            run.rows.append(f"| generate | small | {device}, --batch {batch} | {packets:.0f} packets/s | {tokens:.0f} tokens/s")


def compare(run):
    """Counts the flows that are the same on both devices, by their bits under the model."""
    files = [ROOT / f"build/flows-{name}.arrow" for name in ("cuda-64", "cuda-5")]
    same = all(file.exists() for file in files) and files[0].read_bytes() == files[1].read_bytes()
    run.rows.append(f"| generate | models/tiny | cuda with --batch 64 and 5: {'the same' if same else 'other'} octets")
    if not same:
        run.failed.append("generate: cuda with other batches")
    flows = {}
    for device in ("cuda", "cpu"):
        command = ["bin/tcp-train", "score", "--checkpoint-path", "models/tiny", "--input-dir", f"build/flows-{device}-64.arrow"]
        text = run.step(f"generate:score {device}", [*command, "--device", "cuda"], 60) or ""
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        flows[device] = [(line["tokens"], line["packets"], round(line["bits"], 1)) for line in lines]
    equal = sum(a == b for a, b in zip(flows["cuda"], flows["cpu"]))
    run.rows.append(f"| generate | models/tiny | {equal} of {len(flows['cpu'])} flows are the same on cuda and cpu")
    if equal < 0.95 * len(flows["cpu"]) or not flows["cpu"]:
        run.failed.append("generate: other flows than on the CPU")


def scoring(run, gpu):
    bits = {}
    for name in ("cuda", "cpu") if gpu else ("cpu",):
        command = ["bin/tcp-train", "score", "--checkpoint-path", "models/tiny", "--input-dir", "data.arrow", "--flows", "200", "--device", name]
        text = run.step(f"score:{name}", command, 60) or ""
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        bits[name] = [line["bits"] for line in lines]
    if bits.get("cuda") and bits.get("cpu"):
        worst = max(abs(a / b - 1) for a, b in zip(bits["cuda"], bits["cpu"]))
        run.rows.append(f"| score | models/tiny | bits of {len(bits['cpu'])} flows differ by {worst:.1e} at most")
        if worst > 1e-4 or len(bits["cuda"]) != len(bits["cpu"]):
            run.failed.append("score: bits")


def metrics(path):
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [line for line in lines if "loss" in line and "tokens" in line]


NCU = [
    "gpu__time_duration.sum",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__registers_per_thread",
]


def counters(run):
    """Time, traffic and bank conflicts of each kernel, by ncu."""
    if not shutil.which("ncu"):
        run.rows.append("| ncu | not installed")
        return
    for path in variants():
        command = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--csv", "--page", "raw", "--print-units", "base", "--metrics", ",".join(NCU)]
        command += [sys.executable, "gpu/kernels.py", "once", path, "bfloat16", "8,8,4096,64"]
        text = run.step(f"ncu:{path.stem}", command, 60)
        run.rows += counted(path.stem, text or "")
    decoder_counters(run)


def decoder_counters(run):
    """Time of each kind of kernel in one step of the decoder, by ncu."""
    sizes = ["0.01", "1", "256"]  # two groups of 128 rows
    kernels = 45  # of a step; each group does one in vain, as it is recorded
    command = ["ncu", "--clock-control", "none", "--csv", "--page", "raw", "--print-units", "base", "--metrics", NCU[0]]
    command += ["--launch-skip", 2 * kernels, "--launch-count", kernels, "bin/bench_decoder", *sizes]
    times = {}
    for value in csv_rows(run.step("ncu:decoder", command, 60) or ""):
        # run_kernel<lf::cuda::decode::Product<(lf::cuda::decode::Input)0>>
        name = value.get("Kernel Name", "?").split("run_kernel<")[-1].replace("lf::cuda::decode::", "").split(">(")[0]
        times.setdefault((name, value.get("Grid Size", "")), []).append(float(value.get(NCU[0], "nan").replace(",", "") or "nan") / 1e3)
    run.rows += [f"| ncu | decoder, 128 rows | {name} {grid} | {len(all)} of {sum(all) / len(all):.1f} us" for (name, grid), all in times.items()]


def csv_rows(text):
    """The lines of ncu's table, by column."""
    import csv

    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    return [dict(zip(rows[0], row)) for row in rows[2:]]  # the second line has units


def counted(variant, text):
    found = []
    for value in csv_rows(text):
        number = lambda name: float(value.get(name, "nan").replace(",", "") or "nan")
        name = short_name(value.get("Kernel Name", "?"))
        time_us, read, write, conflicts, waves, warps, registers = map(number, NCU)
        found.append(
            f"| ncu | {variant} | {name} | {time_us / 1e3:.1f} us | {(read + write) / 1e6:.0f} MB | conflicts {conflicts / max(waves, 1):.2f} of "
            f"{waves / 1e6:.1f} M wavefronts | {warps:.0f} % warps | {registers:.0f} registers"
        )
    return found


def sanitizers(run):
    if not shutil.which("compute-sanitizer"):
        run.rows.append("| sanitizer | not installed")
        return
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "3", "bin/kernels-it", "gpu::small", "--test-threads", "1"]
        text = run.step(f"sanitizer:{tool}", command, 70) or ""
        run.rows += [f"| sanitizer | {tool} | {line.strip('= ')}" for line in text.splitlines() if "SUMMARY" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480, help="time for all steps [480]")
    parser.add_argument("--only", default="", help="steps to run: about,tests,check,times,kernels,bench,peer,train,score,generate,decoder,ncu,sanitizer")
    args = parser.parse_args()
    run = Run(args.seconds, set(filter(None, args.only.split(","))))
    gpu = subprocess.run([sys.executable, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"], env=run.env).returncode == 0
    python = [sys.executable, "gpu/kernels.py"]
    jobs = start_compiling(run, gpu)
    if gpu and (not run.only or "peer" in run.only):
        start_warming(run, python)
    run.step("about", ["bash", "-c", ABOUT], 30)
    test_env = run.env if gpu else dict(run.env, LF_TEST_DEVICE="cpu")
    run.step("tests", ["bin/kernels-it", "gpu::", "--nocapture", "--test-threads", "1"], 120, test_env)
    run.step("tests:model", ["bin/linformer-it", "gpu::", "--nocapture", "--test-threads", "1"], 60, test_env)
    end_compiling(run, jobs)
    for path in variants():
        # Each in a process of its own: one that hangs costs its own time alone, and is not timed.
        run.step(f"check:{path.stem}", [*python, "check" if gpu else "few", path.stem], 60 if gpu else 400)
        if f"check:{path.stem}" in run.hung:
            path.rename(path.with_suffix(".hung"))
    if gpu and (not run.only or "sanitizer" in run.only):
        sanitizers(run)
    run.timed("times", [*python, "times"], 60, wanted=gpu)
    run.timed("bench", ["bin/bench_cuda"], 30)
    run.timed("kernels", [*python, "kernels"], 60, wanted=gpu)
    if not run.only or "train" in run.only:
        training(run, gpu)
    if not run.only or "score" in run.only:
        scoring(run, gpu)
    if gpu and (not run.only or "ncu" in run.only):
        counters(run)
    end_warming(run)
    run.step("peer", [*python, "peer"], 60, wanted=gpu)
    if not run.only or {"generate", "decoder"} & run.only:
        generating(run, gpu)
    run.rows.append(f"| run | {time.monotonic() - run.began:.0f} s | {'failed: ' + ', '.join(run.failed) if run.failed else 'all passed'}")
    run.keep()
    text = "\n".join(run.rows)
    print("\n" + text[-LONGEST_TABLE:], flush=True)
    return 1 if run.failed else 0


def short_name(text):
    """`forward` of `void lf::cuda::<unnamed>::forward<float, 32, 32>(...)`."""
    for unnamed in ("(anonymous namespace)::", "<unnamed>::"):
        text = text.replace(unnamed, "")
    words = text.split("(")[0].split("<")[0].split("::")[-1].split()
    return words[-1] if words else "?"


ABOUT = """
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | sed 's/^/| gpu | /'
python3 -c 'import torch; print("| torch |", torch.__version__)'
nvcc --version 2>/dev/null | sed -n 's/.*release/| nvcc | release/p'
for program in bin/*; do ldd $program | grep 'not found' | sed "s|^|$program: |"; done | sort -u > logs/ldd
sed 's/^/| ldd | /' logs/ldd
test ! -s logs/ldd
"""

if __name__ == "__main__":
    sys.exit(main())
