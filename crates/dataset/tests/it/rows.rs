//! Flows of captures as rows and back.

use std::collections::BTreeMap;

use arrowio::{DatasetReader, FlowRow, FlowSummary, ReadOptions};
use dataset::{
    CompleteFlows, DECODED_IDS, Outcome, RowCodec, RowDecoder, RowEncoder, header_of, summarize,
};
use flowtrack::Flow;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use testkit::Scratch;
use testkit::captures::{complete_flows, conversations, flows};
use testkit::datasets::{encoded_row, write_folder};
use testkit::testdata;

fn encode(codec: RowCodec, flow: &Flow) -> FlowRow {
    let (tokens, identity) = RowEncoder::new(codec).encode(flow).unwrap();
    FlowRow { tokens, identity, summary: None }
}

#[test]
fn field_rows_decode_to_the_same_packets() {
    let mut decoder = RowDecoder::default();
    for flow in complete_flows(&testdata("quick.pcap")) {
        let row = encode(RowCodec::Field, &flow);
        let (decoded, synthesized) = decoder.decode(&row).unwrap();
        assert_eq!((&decoded.packets, synthesized.packets), (&flow.packets, 0));
        assert_eq!(decoder.decode_opening(&row, |opening| opening.packets[0]), flow.packets[0]);
        decoder.recycle(decoded);
    }
}

/// Reads the dataset of version 1 in testdata.
fn rows_of_version_1() -> Vec<FlowRow> {
    let rows = DatasetReader::open(&testdata("tokens-1.arrow"), &DECODED_IDS).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn flows_of_version_1_are_those_of_their_captures() {
    let mut captures = BTreeMap::new();
    for row in rows_of_version_1() {
        let (decoded, _) = RowDecoder::default().decode(&row).unwrap();
        let FlowSummary { source, first_frame, .. } = row.summary.unwrap();
        let flows = captures.entry(source).or_insert_with_key(|name| flows(&testdata(name)));
        let flow = flows.iter().find(|flow| flow.first_frame == first_frame).unwrap();
        assert_eq!((&decoded.packets, &decoded.options), (&flow.packets, &flow.options));
        assert_eq!((decoded.client, decoded.server), (flow.client, flow.server));
    }
    assert_eq!(captures.len(), 19);
}

#[test]
fn flows_of_version_1_are_for_decoding_alone() {
    let path = testdata("tokens-1.arrow");
    let refused = DatasetReader::open(&path, &[RowCodec::Field.id()]).err().unwrap().to_string();
    let says = "expected field version 2, found field version 1, which `tcp-decode OLD - | \
                tcp-encode - NEW` makes anew";
    assert!(refused.ends_with(says), "{refused}");
}

#[test]
fn the_first_tokens_tell_version_1() {
    let mut octets = std::fs::read(testdata("tokens-1.arrow")).unwrap();
    let key = b"token_code";
    for at in 0..octets.len() - key.len() {
        if octets[at..].starts_with(key) {
            octets[at..at + key.len()].copy_from_slice(b"lost__code");
        }
    }
    let scratch = Scratch::new();
    let path = scratch.write("told.arrow", &octets);
    for token_code in [None, Some(RowCodec::Field.id())] {
        let options = ReadOptions { token_code, ..ReadOptions::accepting(&DECODED_IDS) };
        let rows: Vec<_> =
            DatasetReader::open_with(&path, &options).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, rows_of_version_1());
    }
}

#[test]
fn word16_rows_synthesize_times() {
    for flow in complete_flows(&testdata("quick.pcap")) {
        let row = encode(RowCodec::Word16, &flow);
        let (decoded, synthesized) = RowDecoder::default().decode(&row).unwrap();
        assert_eq!(decoded.packets.len() as u64, synthesized.packets);
        assert_eq!(header_of(&decoded).server_port, flow.server.port);
    }
}

#[test]
fn a_captured_and_a_decoded_flow_have_the_same_summary() {
    let all = conversations(&testdata("http-lan.pcap"));
    let complete = all.iter().filter(|e| e.verdict.class.is_complete());
    let mut decoder = RowDecoder::default();
    let mut compared = 0;
    for (flow, verdict) in complete.filter_map(|e| Some((e.flow.as_ref()?, &e.verdict))) {
        let captured = summarize(flow, Outcome::of_captured(flow, verdict), "a.pcap");
        let (decoded, _) = decoder.decode(&encode(RowCodec::Field, flow)).unwrap();
        let mut again = summarize(&decoded, Outcome::of_decoded(&decoded), "a.pcap");
        // Frame numbers are not part of a row's tokens and identity.
        again.first_frame = captured.first_frame;
        assert_eq!(captured, again);
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn rows_without_addresses_are_between_documentation_addresses() {
    let flow = tokenizer::field::doc::worked_flow();
    let generated = FlowRow { identity: Default::default(), ..encode(RowCodec::Field, &flow) };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let decoded = RowDecoder::default().decode_with_stand_ins(&generated).unwrap();
    let client = flowtrack::Endpoint { addr: [192, 0, 2, 1].into(), port: 49_152 };
    assert_eq!((decoded.client, decoded.server.port), (client, flow.server.port));
    // Bases may be drawn: an IP identification that is 0 in each packet is another system's.
    let drawn = RowDecoder::default().decode_with_drawn_bases(&generated, &mut random).unwrap();
    let ids: Vec<u16> = drawn.packets.iter().map(|p| p.ip_id).collect();
    assert!(ids.iter().any(|id| *id > 1000), "{ids:?}");
    let kept = encode(RowCodec::Field, &flow);
    let decoded = RowDecoder::default().decode_with_drawn_bases(&kept, &mut random).unwrap();
    assert_eq!((decoded.client, decoded.server), (flow.client, flow.server));
    assert_eq!(decoded.packets, flow.packets);
}

#[test]
fn a_dataset_has_the_complete_flows_of_its_capture() {
    let capture = testdata("http-lan.pcap");
    let scratch = Scratch::new();
    write_folder(&scratch.path("set"), complete_flows(&capture).iter().map(encoded_row));
    let (mut captured, mut decoded) = (CompleteFlows::default(), CompleteFlows::default());
    assert!(captured.add_file(&capture).unwrap().is_empty());
    assert!(decoded.add_file(&scratch.path("set/flows-00000.arrows")).unwrap().is_empty());
    assert_eq!(captured.flows.len(), decoded.flows.len());
    for (a, b) in captured.flows.iter().zip(&decoded.flows) {
        assert_eq!((a.client, a.server, &a.packets), (b.client, b.server, &b.packets));
    }
    assert_eq!((decoded.incomplete, decoded.missing_identity), (0, 0));
}

#[test]
fn a_damaged_capture_is_read_up_to_the_damage() {
    let scratch = Scratch::new();
    let octets = std::fs::read(testdata("quick.pcap")).unwrap();
    let path = scratch.write("cut.pcap", &octets[..octets.len() - 7]);
    let mut flows = CompleteFlows::default();
    let left_out = flows.add_file(&path).unwrap();
    assert!(!flows.flows.is_empty());
    let [reason] = &left_out[..] else { panic!("{left_out:?}") };
    assert!(reason.to_string().contains("cut.pcap: ") && reason.to_string().contains("cut short"));
}
