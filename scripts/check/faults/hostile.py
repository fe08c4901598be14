"""Hostile captures and datasets: bombs, floods, clocks that jump."""
import bz2
import gzip
import lzma
import random
import struct

from captures import pcap_head, pcap_frame, tcp_frame, times
from harness import DATA, MIB, SHORT, SETTINGS, NotRun, run


def clock_goes_back(inputs, work):
    data, at, out, n = (DATA / "quick.pcap").read_bytes(), 24, [], 0
    out.append(data[:24])
    while at < len(data):
        seconds, micros, length, original = struct.unpack("<IIII", data[at:at + 16])
        # Every tenth frame an hour early, and from the middle on a day.
        seconds -= (3600 if n % 10 == 3 else 0) + (86_400 if at > len(data) // 2 else 0)
        out += [struct.pack("<IIII", seconds, micros, length, original), data[at + 16:at + 16 + length]]
        at, n = at + 16 + length, n + 1
    capture = work / "back.pcap"
    capture.write_bytes(b"".join(out))
    flows = []
    for path in (DATA / "quick.pcap", capture):
        done = run("tcp-encode", "--json", path, work / f"{path.stem}.arrow").must(0).json()
        flows.append((done["flows_kept"], done["packets_kept"], done["conversations"]))
    assert flows[0] == flows[1], flows
    decoded = run("tcp-decode", "--json", work / "back.arrow", work / "again.pcap").must(0).json()
    assert decoded["packets"] == flows[0][1]
    new = times(work / "again.pcap") - times(capture)
    assert not new, f"times that were not there: {new}"
    return f"the same {flows[0][0]} flows and {flows[0][1]} packets as with a clock that goes on, at the times they had"


def syn_flood(inputs, work):
    n = 5_000_000 if SETTINGS.big else 1_000_000

    def frames():
        yield pcap_head()
        chunk = []
        for i in range(n):
            src = 0x0A000000 | (i * 2654435761 & 0xFFFFFF)
            chunk.append(pcap_frame(1_700_000_000_000_000 + i, tcp_frame(src, 0xC0000201, 1024 + i % 60_000, 443, seq=i)))
            if len(chunk) == 4096:
                yield b"".join(chunk)
                chunk = []
        yield b"".join(chunk)

    octets = work / "syn.pcap"
    with open(octets, "wb") as file:
        file.writelines(frames())
    told = []
    # Octets a flow without a limit; with one, so much more than it; a hundredth of a second is 10,000 frames here.
    for limit, most in {(): 700 * n, ("--max-memory", "64"): (64 + 40) * MIB, ("--idle-timeout", "0.01"): 48 * MIB}.items():
        done = run("tcp-encode", "--json", octets, work / f"set{len(told)}.arrow", *limit).must(0)
        name = f"{done.peak / MIB:.0f} MiB {' '.join(limit)}".strip()
        assert done.json()["conversations"] > 0.9 * n and done.peak < most, name
        told.append(name)
    octets.unlink()
    return f"{n:,} open flows: {', '.join(told)} at the peak, {done.user:.1f} s of processor time"


def hash_flooding(inputs, work):
    """4-tuples that collide in hashes without a key: sums and exclusive ors of words, multiples of powers of two."""
    n = 200_000
    shapes = {
        "random": lambda i, r: (r.getrandbits(32), r.getrandbits(32), r.getrandbits(16), r.getrandbits(16)),
        "same xor": lambda i, r: (0x0A000000 + i, 0xC0A80000 ^ i, 1024 + (i & 0x3FFF), 1024 + (i & 0x3FFF)),
        "same sum": lambda i, r: (0x0A000000 + i, 0x7F000000 - i, 5000, 443),
        "high bits": lambda i, r: (i << 12 & 0xFFFFFFFF, (i >> 4 & 0xFF) << 24 | 1, 443, i >> 12 & 0xFFFF),
    }
    took = {}
    for name, shape in shapes.items():
        r = random.Random(1)
        frames = [pcap_frame(1_700_000_000_000_000 + i, tcp_frame(*shape(i, r))) for i in range(n)]
        path = work / "flood.pcap"
        path.write_bytes(pcap_head() + b"".join(frames))
        took[name] = min(run("tcp-encode", "-q", "--jobs", "1", path, work / f"{name}{k}.arrow").must(0).user for k in range(2))
    worst = max(took.values())
    assert worst < 3 * took["random"] + 0.5, took
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()) + f" for {n:,} flows each"


def option_bombs(inputs, work):
    block = lambda kind, body: struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    many = b"".join(struct.pack("<HH", 1, 4) + b"abcd" for _ in range(10_000)) + b"\0\0\0\0"
    frame = tcp_frame(0x0A000001, 0x0A000002, 1000, 80)
    padded = frame + b"\0" * (-len(frame) % 4)
    packet = block(6, struct.pack("<IIIII", 0, 0, 0, len(frame), len(frame)) + padded + many)
    # 10,000 interfaces, each with options; then packets of which each has 10,000 options.
    interfaces = b"".join(block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHBxxxHH", 9, 1, 6, 0, 0)) for _ in range(10_000))
    capture = work / "options.pcapng"
    capture.write_bytes(section + interfaces + packet * 200)
    done = run("tcp-encode", "--json", "--keep", "all", capture, work / "a.arrow").must(0)
    assert done.json()["frames"] == 200 and done.user < 5 and done.peak < 40 * MIB, (done.user, done.peak)
    # An IPv6 header with as many extension headers as a packet can hold, tunnels in tunnels, and labels on labels.
    nested = b""
    for _ in range(8000):
        nested += b"\x3c\0\1\4\0\0\0\0"
    v6 = struct.pack(">IHBB", 0x60000000, len(nested), 60, 64) + b"\0" * 15 + b"\1" + b"\0" * 15 + b"\2" + nested
    tunnels = b"".join(struct.pack(">BBHHHBBHII", 0x45, 0, 65_000 - 20 * i, 0, 0, 64, 4, 0, 1, 2) for i in range(3000))
    ether = b"\2\0\0\0\0\1\2\0\0\0\0\2"
    labels = ether + b"\x88\x47" + b"\0\0\x10\x40" * 15_000
    vlans = ether + b"\x81\0\0\1" * 15_000
    frames = [ether + b"\x86\xdd" + v6, ether + b"\x08\0" + tunnels, labels, vlans]
    path = work / "nested.pcap"
    path.write_bytes(pcap_head() + b"".join(pcap_frame(i, f) for i, f in enumerate(frames * 250)))
    deep = run("tcp-encode", "--json", "--keep", "all", path, work / "b.arrow")
    deep.must(1, "expected TCP packets, found frames: 250 cut before the TCP header, 750 too many layers")
    assert deep.json()["frames"] == 1000 and deep.user < 5 and deep.peak < 40 * MIB, (deep.user, deep.peak)
    return (f"10,000 interfaces, 200 packets with 10,000 options each: {done.user:.1f} s, {done.peak / MIB:.0f} MiB; "
            f"1,000 frames of 60 KB of nested headers: {deep.user:.1f} s, {deep.peak / MIB:.0f} MiB")


def packed_bz2(path, head, size):
    with bz2.open(path, "wb") as out:
        out.write(head)
        for _ in range(size >> 20):
            out.write(bytes(MIB))


def packed_xz(path, head, size):
    with lzma.open(path, "wb", preset=6) as out:
        out.write(head)
        for _ in range(size >> 20):
            out.write(bytes(MIB))


def packed_lz4(path, head, size):
    """Writes an LZ4 frame by hand: blocks of 4 MiB, the head in a stored one, zeros as one long match of a single zero before."""
    block = 4 << 20
    # A literal zero, then a match at distance 1; the last five octets of a block are literals.
    length = block - 1 - 5
    more, rest = divmod(length - 4 - 15, 255)
    zeros = b"\x1f\0\1\0" + b"\xff" * more + bytes([rest]) + b"\x50" + bytes(5)
    with open(path, "wb") as out:
        # Version 1, independent blocks, no checksums; blocks of at most 4 MiB; checksum of both.
        out.write(b"\x04\x22\x4d\x18\x60\x70\x73")
        out.write(struct.pack("<I", 1 << 31 | len(head)) + head)
        out.write((struct.pack("<I", len(zeros)) + zeros) * (size // block))
        out.write(bytes(4))


def capture_bombs(inputs, work):
    """Zeros compressed a thousand times: as a capture they are records without octets, up to the end."""
    size = (16 << 30) if SETTINGS.big else (256 << 20)
    path = work / "bomb.pcap.gz"
    with gzip.open(path, "wb", compresslevel=9 if not SETTINGS.big else 1) as out:
        out.write(pcap_head())
        for _ in range(size >> 20):
            out.write(bytes(MIB))
    done = run("tcp-encode", "--json", path, work / "set.arrow").must(1, "cut before the TCP header")
    assert done.peak < 40 * MIB, f"{done.peak / MIB:.0f} MiB"
    packed = {}
    for name, pack in {"bz2": packed_bz2, "xz": packed_xz, "lz4": packed_lz4}.items():
        other = work / f"bomb.pcap.{name}"
        pack(other, pcap_head(), size)
        flat = run("tcp-encode", "--json", other, work / f"{name}.arrow").must(1, "cut before the TCP header")
        # The window of xz -6 is 8 MiB, and a block of bzip2 -9 takes 4 MB.
        assert flat.peak < 48 * MIB, f"{name}: {flat.peak / MIB:.0f} MiB"
        assert flat.json()["octets_read"] == done.json()["octets_read"], name
        packed[name] = f"{name} {flat.peak / MIB:.0f} MiB"
        other.unlink()
    # A frame of zstd that asks for a window of 2 GiB is refused before anything is set aside for it.
    window = work / "window.pcap.zst"
    window.write_bytes(b"\x28\xb5\x2f\xfd\0" + bytes([(31 - 10) << 3]) + b"\1\0\0")
    refused = run("tcp-encode", window, work / "w.arrow")
    assert refused.code == 2 and refused.peak < 40 * MIB and "panicked" not in refused.err, (refused.code, refused.err)
    return (f"{path.stat().st_size / 1e6:.1f} MB that unpack to {size / 1e6:,.0f} MB: {done.peak / MIB:.0f} MiB, "
            f"{done.user:.1f} s; {', '.join(packed.values())}; a zstd window of 2 GiB is refused")


def dataset_bombs(inputs, work):
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise NotRun("no pyarrow") from error
    told = []
    meta = {"token_code": "field", "token_version": "1", "vocab_size": "1022", "tool": "bomb"}
    n = 400_000_000
    zeros = pa.Array.from_buffers(pa.uint16(), n, [None, pa.py_buffer(bytes(2 * n))])
    tokens = pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), zeros)
    table = pa.Table.from_arrays([tokens], ["tokens"]).replace_schema_metadata(meta)
    for name, write in {
        "bomb.arrow": lambda p: pa.ipc.new_file(p, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")),
        "bomb.arrows": lambda p: pa.ipc.new_stream(p, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")),
        "bomb.parquet": lambda p: pa.parquet.ParquetWriter(p, table.schema, compression="zstd", use_dictionary=False),
    }.items():
        path = work / name
        with write(str(path)) as writer:
            writer.write_table(table)
        done = run("tcp-decode", "--json", "--force", path, work / "x.pcap")
        assert done.code in (1, 2) and "panicked" not in done.err, (name, done.code, done.peak, done.err)
        assert done.peak < 64 * MIB, f"{name}: {done.peak / MIB:.0f} MiB: {done.err}"
        refused = run("tcp-train", "train", "--input-dir", path, "--output-dir", work / f"m-{name}", *SHORT)
        assert refused.code == 2 and refused.peak < 300 * MIB, (name, refused.code, refused.peak / MIB, refused.err)
        told.append(f"{name} {path.stat().st_size / 1000:.0f} KB: {done.peak / MIB:.0f} MiB, train {refused.peak / MIB:.0f} MiB")
    return f"{2 * n / 1e6:.0f} MB of zeros: " + "; ".join(told)
