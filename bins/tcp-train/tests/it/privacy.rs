//! Identities of flows do not reach a model folder: neither the weights nor any other file.

use std::path::Path;

use arrowio::Tokens;
use testkit::datasets;
use tokenizer::{FlowIdentity, SideIdentity, field};

use crate::support::{Workdir, tensors};

/// Octets of options that occur nowhere by chance.
const DIGITS: [u8; 8] = *b"\xfe\xed\xfa\xce\xca\xfe\xd0\x0d";

/// Returns an identity with values that occur nowhere by chance.
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
        option_digits: None,
    }
}

/// Returns the octets by which that identity would be recognised: in both byte orders, and as text.
fn traces() -> Vec<Vec<u8>> {
    let FlowIdentity { start_ns, client, server, .. } = identity();
    let mut numbers = vec![start_ns.unwrap().to_be_bytes().to_vec(), DIGITS.to_vec()];
    let hex = DIGITS.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut texts = vec![start_ns.unwrap().to_string(), hex];
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

/// Returns as many octets of options as a flow takes, of a pattern; `None` if it takes none.
fn digits(tokens: &Tokens) -> Option<Vec<u8>> {
    let Tokens::U16(tokens) = tokens else { unreachable!() };
    let flow = field::decode(tokens, &FlowIdentity::default()).unwrap();
    let drawn = field::encode(&flow, &mut Vec::new()).unwrap().option_digits?;
    Some(DIGITS.iter().copied().cycle().take(drawn.len()).collect())
}

/// Writes the dataset once more, to `identified`, each flow with an identity.
fn write_identified(workdir: &Workdir) {
    let mut rows = datasets::read(&workdir.path("dataset"));
    for row in &mut rows {
        row.identity = FlowIdentity { option_digits: digits(&row.tokens), ..identity() };
    }
    datasets::write_folder(&workdir.path("identified"), rows);
}

/// Returns the names and contents of all files of a folder.
fn octets_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// Returns the first trace that the octets hold.
fn trace_in(octets: &[u8]) -> Option<Vec<u8>> {
    traces().into_iter().find(|trace| octets.windows(trace.len()).any(|window| window == trace))
}

#[test]
fn a_model_is_the_same_whoever_talked() {
    let workdir = Workdir::new();
    write_identified(&workdir);
    // The search finds the traces in the dataset.
    let dataset = octets_of(&workdir.path("identified"));
    assert!(dataset.iter().any(|(_, octets)| trace_in(octets).is_some()));
    for input in ["dataset", "identified"] {
        let args = format!(
            "train --input-dir {input} --output-dir from-{input} --config settings.toml \
             --max-steps 4"
        );
        workdir.succeed(&format!("{args} --threads 1"));
    }
    for name in ["model.safetensors", "checkpoint.safetensors"] {
        let of = |folder: &str| tensors(&workdir.path(folder).join(name));
        assert!(of("from-dataset") == of("from-identified"), "{name}");
    }
    for (name, octets) in octets_of(&workdir.path("from-identified")) {
        assert_eq!(trace_in(&octets), None, "{name}");
    }
}
