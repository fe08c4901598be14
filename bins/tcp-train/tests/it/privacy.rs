//! What identifies a flow does not reach a model: not its weights, nor anything that stands beside
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use arrowio::{DatasetMeta, FolderWriter, WriteOptions};
use tokenizer::field;
use tokenizer::{FlowIdentity, SideIdentity};

use crate::support::{Place, flows, tensors};

/// Something to look for in every column that identifies a flow.
fn identity() -> FlowIdentity {
    let side = |last: u8| SideIdentity {
        addr: Some([203, 119, 87, last].into()),
        seq_base: Some(0xa1b2_c300 + u32::from(last)),
        ts_base: Some(0x5e6f_7100 + u32::from(last)),
        ip_id_base: Some(0xbeef),
        flow_label_base: None,
    };
    FlowIdentity {
        start_ns: Some(1_711_223_344_556_677_889),
        client_port: Some(51_966),
        client: side(41),
        server: side(42),
    }
}

/// The octets by which an identity would be known, in both orders, and as text.
fn traces() -> Vec<Vec<u8>> {
    let FlowIdentity { start_ns, client, server, .. } = identity();
    let mut numbers = vec![start_ns.unwrap().to_be_bytes().to_vec()];
    let mut texts = vec![start_ns.unwrap().to_string()];
    for side in [client, server] {
        let Some(std::net::IpAddr::V4(addr)) = side.addr else { unreachable!() };
        numbers.push(addr.octets().to_vec());
        texts.push(addr.to_string());
        for base in [side.seq_base, side.ts_base].into_iter().flatten() {
            numbers.push(base.to_be_bytes().to_vec());
            texts.push(base.to_string());
        }
    }
    let reversed =
        numbers.iter().map(|n| n.iter().rev().copied().collect()).collect::<Vec<Vec<u8>>>();
    numbers.into_iter().chain(reversed).chain(texts.into_iter().map(String::into_bytes)).collect()
}

/// The dataset again, each flow with an identity.
fn identified(place: &Place) {
    let meta = DatasetMeta {
        token_code: field::NAME.into(),
        token_version: field::VERSION,
        vocab_size: field::VOCAB_SIZE as u32,
        tool: "test".into(),
        options: BTreeMap::new(),
    };
    std::fs::create_dir(place.path("identified")).unwrap();
    let mut writer = FolderWriter::new(&place.path("identified"), &meta, &WriteOptions::default());
    for mut row in flows(&place.path("dataset")) {
        row.identity = identity();
        writer.write(&row).unwrap();
    }
    writer.finish().unwrap();
}

fn octets_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn trace_in(octets: &[u8]) -> Option<Vec<u8>> {
    traces().into_iter().find(|trace| octets.windows(trace.len()).any(|window| window == trace))
}

#[test]
fn a_model_is_the_same_whoever_talked() {
    let place = Place::new();
    identified(&place);
    // What is looked for can be found: the dataset has it.
    let dataset = octets_of(&place.path("identified"));
    assert!(dataset.iter().any(|(_, octets)| trace_in(octets).is_some()));
    for input in ["dataset", "identified"] {
        let args = format!(
            "train --input-dir {input} --output-dir from-{input} --config settings.toml --max-steps 4"
        );
        place.succeed(&format!("{args} --threads 1"));
    }
    for name in ["model.safetensors", "checkpoint.safetensors"] {
        let of = |folder: &str| tensors(&place.path(folder).join(name));
        assert!(of("from-dataset") == of("from-identified"), "{name}");
    }
    for (name, octets) in octets_of(&place.path("from-identified")) {
        assert_eq!(trace_in(&octets), None, "{name}");
    }
}
