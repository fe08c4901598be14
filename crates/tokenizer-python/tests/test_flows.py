"""Captures to tables to packets, on recorded traffic."""

import struct
import threading

import numpy
import pyarrow
import pytest

import tcp_flows


@pytest.fixture(scope="module")
def table(testdata):
    return tcp_flows.encode(testdata / "quick.pcap")


def test_a_table_is_what_the_program_writes(table, testdata, tmp_path):
    summary = tcp_flows.encode(testdata / "quick.pcap", tmp_path / "flows.arrow")
    assert summary["flows_kept"] == table.num_rows == 18
    written = pyarrow.ipc.open_file(tmp_path / "flows.arrow").read_all()
    assert written.equals(table) and written.schema.metadata == table.schema.metadata
    assert [name for name, *_ in tcp_flows.columns()] == table.column_names


def test_tokens_are_not_copied_into_pyarrow(testdata):
    before = pyarrow.total_allocated_bytes()
    table = tcp_flows.encode(testdata / "bulk.pcap.gz", keep="all")
    assert table["tokens"].nbytes > 1000 and pyarrow.total_allocated_bytes() == before
    tokens = table["tokens"].chunk(0).values
    assert tokens.to_numpy(zero_copy_only=True).dtype == numpy.uint16


def test_options_are_those_of_the_program(testdata):
    everything = tcp_flows.encode(testdata / "quick.pcap", keep=["graceful", "reset", "started"], dedup=True, jobs=1)
    assert set(everything["class"].to_pylist()) == {"graceful", "reset", "started"}
    with pytest.raises(ValueError, match=r"unexpected argument '--kep'") as raised:
        tcp_flows.encode(testdata / "quick.pcap", kep="all")
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="invalid value 'half' for '--keep"):
        tcp_flows.encode(testdata / "quick.pcap", keep="half")


def test_packets_give_the_flows_of_their_capture(table, testdata, tmp_path):
    packets = frames_of(testdata / "quick.pcap")
    for given in (packets, iter(packets)):
        again = tcp_flows.encode(given)
        for name in table.column_names:
            assert name == "source" or again[name].equals(table[name]), name
    summary = tcp_flows.encode(packets, tmp_path / "again.arrow")
    assert summary["flows_kept"] == table.num_rows


def test_nothing_is_not_standard_input():
    with pytest.raises(TypeError, match="expected captures or packets, found None"):
        tcp_flows.encode(None)


def test_an_exception_between_packets_is_raised(testdata):
    def broken():
        yield from frames_of(testdata / "quick.pcap")[:20]
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        tcp_flows.encode(broken())


def frames_of(capture):
    """The frames of a pcap of microseconds as tuples of time, octets and length."""
    octets = capture.read_bytes()
    assert octets[:4] == b"\xd4\xc3\xb2\xa1"
    frames, at = [], 24
    while at < len(octets):
        seconds, micros, captured, length = struct.unpack_from("<IIII", octets, at)
        at += 16 + captured
        frames.append((seconds * 10**9 + micros * 1000, octets[at - captured : at], length))
    return frames


def test_flows_come_back(table, tmp_path):
    packets = tcp_flows.decode(table)
    assert len(packets) == sum(table["client_packets"].to_pylist()) + sum(table["server_packets"].to_pylist())
    assert packets == sorted(packets, key=lambda packet: packet.time_ns)
    assert tcp_flows.encode(packets)["tokens"].equals(table["tokens"])
    whole = [(packet.time_ns, packet.octets) for packet in tcp_flows.decode(table, payload="zero")]
    assert tcp_flows.encode(whole)["tokens"].equals(table["tokens"])
    summary = tcp_flows.decode(table, tmp_path / "again.pcap")
    assert summary["flows_written"] == table.num_rows
    assert tcp_flows.encode(tmp_path / "again.pcap")["tokens"].equals(table["tokens"])


def test_several_captures_are_one_table(testdata):
    names = ["redis.pcap", "quick.pcap"]
    both = tcp_flows.encode([testdata / name for name in names])
    alone = [tcp_flows.encode(testdata / name)["tokens"].to_pylist() for name in names]
    assert both["tokens"].to_pylist() == sum(alone, [])


def test_packets_that_are_none_are_refused_in_one_line():
    for packet in [(1.5, b""), (1, "text"), 7]:
        with pytest.raises(TypeError, match=r"packet 1: expected \(time in ns as int") as raised:
            tcp_flows.encode([(1, b"\0" * 60), packet])
        assert "\n" not in str(raised.value)


def test_other_writers_datasets_are_read(table, tmp_path):
    import pyarrow.parquet

    wide = table.set_column(0, "tokens", table["tokens"].cast(pyarrow.list_(pyarrow.int64())))
    pyarrow.parquet.write_table(wide.append_column("more", pyarrow.nulls(table.num_rows)), tmp_path / "a.parquet")
    assert tcp_flows.read(tmp_path / "a.parquet").equals(table)
    stream = tcp_flows.stream(tmp_path / "a.parquet")
    assert pyarrow.RecordBatchReader.from_stream(stream).read_all().equals(table)
    with pytest.raises(ValueError, match="taken already"):
        stream.__arrow_c_stream__()


def test_polars_takes_and_gives_flows(table, testdata, tmp_path):
    polars = pytest.importorskip("polars")
    tcp_flows.encode(testdata / "quick.pcap", tmp_path / "flows.parquet")
    frame = polars.from_arrow(pyarrow.RecordBatchReader.from_stream(tcp_flows.stream(tmp_path / "flows.parquet")).read_all())
    assert frame.height == table.num_rows
    assert tcp_flows.decode(frame) == tcp_flows.decode(table)


def test_files_that_are_none_are_named(tmp_path):
    for function in (tcp_flows.encode, tcp_flows.read, tcp_flows.decode):
        with pytest.raises(FileNotFoundError, match="no-such-file"):
            function(tmp_path / "no-such-file")
    (tmp_path / "text.arrow").write_text("text")
    with pytest.raises(ValueError, match="text.arrow: .*expected"):
        tcp_flows.read(tmp_path / "text.arrow")
    with pytest.raises(FileExistsError, match="text.arrow"):
        tcp_flows.decode(tcp_flows.table([]), tmp_path / "text.arrow", format="pcap")
    with pytest.raises(TypeError, match="found int"):
        tcp_flows.decode(7)


def test_a_damaged_dataset_is_an_error_with_its_place(table, tmp_path):
    path = tmp_path / "flows.arrows"
    with pyarrow.ipc.new_stream(str(path), table.schema) as to:
        to.write_table(table)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="flows.arrows: .*expected") as raised:
        tcp_flows.read(path)
    assert "\n" not in str(raised.value)


def test_what_was_left_out_is_a_warning(testdata, tmp_path):
    (tmp_path / "damaged.pcap").write_bytes((testdata / "quick.pcap").read_bytes()[:-10])
    with pytest.warns(tcp_flows.LeftOut, match="damaged.pcap") as warned:
        tcp_flows.encode(tmp_path / "damaged.pcap")
    assert warned[0].filename == __file__


def test_evaluation_is_a_dict(testdata):
    measures = tcp_flows.evaluate(testdata / "http-lan.pcap", testdata / "http-clients.pcap", repeats=3)
    assert "targets" in measures


def test_other_threads_run_meanwhile(testdata):
    done = threading.Event()

    def encode():
        tcp_flows.encode(testdata, keep="all")
        done.set()

    turns = 0
    thread = threading.Thread(target=encode)
    thread.start()
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 1000


def test_a_walk_through_the_grammar_is_a_session():
    random = numpy.random.default_rng(1)
    flows = []
    for _ in range(20):
        grammar, flow = tcp_flows.Grammar(max_packets=30), []
        while not grammar.is_done:
            mask = grammar.allowed_mask()
            assert mask.dtype == numpy.bool_ and mask.shape == (tcp_flows.VOCAB_SIZE,)
            assert mask.nonzero()[0].tolist() == grammar.allowed_tokens()
            flow.append(int(random.choice(mask.nonzero()[0])))
            grammar.push(flow[-1])
        assert not grammar.allowed_mask().any()
        assert (flow[0], flow[-1], len(grammar)) == (tcp_flows.BOS, tcp_flows.END, len(flow))
        assert grammar.packets <= 30
        flows.append(flow)
    packets = tcp_flows.decode(tcp_flows.table(flows))
    again = tcp_flows.encode(packets)
    assert again.num_rows == 20 and set(again["close"].to_pylist()) <= {"fin", "rst"}


def test_a_grammar_refuses_and_copies():
    grammar = tcp_flows.Grammar("syntax")
    assert tcp_flows.describe(tcp_flows.BOS) == "begin"
    grammar.push(tcp_flows.BOS)
    copy = grammar.copy()
    copy.push(copy.allowed_tokens()[0])
    assert (len(grammar), len(copy)) == (1, 2)
    with pytest.raises(ValueError, match="token 1"):
        grammar.push(tcp_flows.END)
    with pytest.raises(ValueError, match="expected session or syntax, found 'all'"):
        tcp_flows.Grammar("all")
    with pytest.raises(ValueError, match="token: expected one below"):
        tcp_flows.describe(tcp_flows.VOCAB_SIZE)


def test_a_corpus_is_packed_without_padding(testdata, tmp_path):
    tcp_flows.encode(testdata, tmp_path / "set", keep="all")
    from tcp_flows._flows import corpus

    with corpus(tmp_path / "set", validation=0.2, test=0.1) as flows:
        parts = [flows.part(part).tolist() for part in ("train", "validation", "test")]
    assert sorted(sum(parts, [])) == list(range(len(flows)))
    rows = flows.rows("train", 1000, 0)
    seen = {}
    for row in rows:
        tokens, targets, offsets, index, starts = row
        assert len(tokens) == len(targets) == offsets[-1] <= 1000
        for begin, end, flow, start in zip(offsets, offsets[1:], index, starts):
            own = flows.tokens(flow)
            assert tokens[begin:end].tolist() == own[start : start + end - begin].tolist()
            assert targets[begin:end].tolist() == own[start + 1 : start + 1 + end - begin].tolist()
            assert seen.get(flow, 0) == start
            seen[flow] = start + end - begin
    assert seen == {flow: len(flows.tokens(flow)) - 1 for flow in parts[0]}
    order = [row[3].tolist() for row in flows.rows("train", 1000, 1)]
    assert order != [row[3].tolist() for row in rows]
    for wrong in [dict(part="all", row_tokens=9), dict(part="test", row_tokens=0)]:
        with pytest.raises(ValueError):
            flows.rows(**wrong)
    with pytest.raises(ValueError, match="test: expected a share"), corpus(tmp_path / "set", test=1.5):
        pass
