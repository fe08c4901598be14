//! `--anonymize`, from outside: what is replaced, what is left out, what stays.

use std::collections::BTreeMap;
use std::net::IpAddr;

use arrowio::{CodecId, DatasetReader, FlowRow, Tokens};
use serde_json::Value;
use tokenizer::field;

use super::*;

const KEY: &str = "1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202";

fn key_file(scratch: &Scratch) -> PathBuf {
    scratch.write("key", KEY.as_bytes())
}

/// Rows and flow log of a run over `input`.
fn run(scratch: &Scratch, name: &str, input: &Path, more: &[&Path]) -> (Vec<FlowRow>, Vec<Value>) {
    let (set, log) =
        (scratch.path(&format!("{name}.arrow")), scratch.path(&format!("{name}.jsonl")));
    let mut args =
        vec![input, &set, Path::new("--keep"), Path::new("all"), Path::new("--flow-log"), &log];
    args.push(Path::new("--force"));
    args.extend(more);
    let output = tcp_encode(&args);
    assert!(code(&output) < 2, "{}", stderr(&output));
    let codes = [CodecId { name: field::NAME, version: field::VERSION }];
    let rows = DatasetReader::open(&set, &codes).unwrap().map(Result::unwrap).collect();
    (
        rows,
        fs::read_to_string(log)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect(),
    )
}

fn addresses(row: &FlowRow) -> [IpAddr; 2] {
    [row.identity.client.addr.unwrap(), row.identity.server.addr.unwrap()]
}

#[test]
fn addresses_are_replaced_one_by_one_and_all_else_comes_back() {
    let scratch = Scratch::new();
    let key = key_file(&scratch);
    for name in ["quick.pcap", "office.pcapng", "resets.pcap"] {
        let (plain, log) = run(&scratch, "plain", &testdata(name), &[]);
        let (hidden, hidden_log) =
            run(&scratch, "hidden", &testdata(name), &[Path::new("--anonymize"), &key]);
        assert_eq!((plain.len(), log.len()), (hidden.len(), hidden_log.len()));
        let mut pairs = BTreeMap::new();
        for (a, b) in plain.iter().zip(&hidden) {
            let (Tokens::U16(tokens), Tokens::U16(others)) = (&a.tokens, &b.tokens) else {
                panic!("field code")
            };
            assert_eq!(tokens, others);
            let (real, shown) = (
                field::decode(tokens, &a.identity).unwrap(),
                field::decode(others, &b.identity).unwrap(),
            );
            assert_eq!(real.packets, shown.packets);
            for (real, shown) in addresses(a).into_iter().zip(addresses(b)) {
                assert_ne!(real, shown);
                assert_eq!(
                    *pairs.entry(real).or_insert(shown),
                    shown,
                    "an address is replaced by one other"
                );
            }
            assert_eq!(b.summary.as_ref().unwrap().source, "capture-00001");
        }
        for (line, shown) in log.iter().zip(&hidden_log) {
            for end in ["src", "dst"] {
                let real: IpAddr = line[end].as_str().unwrap().parse().unwrap();
                let shown: IpAddr = shown[end].as_str().unwrap().parse().unwrap();
                assert_eq!(
                    *pairs.entry(real).or_insert(shown),
                    shown,
                    "the flow log says the same"
                );
            }
            assert_eq!(shown["file"], "capture-00001");
        }
    }
}

#[test]
fn no_written_file_holds_an_address_or_a_name() {
    let scratch = Scratch::new();
    let key = key_file(&scratch);
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(testdata("quick.pcap"), scratch.path("in/host-10.1.0.1.pcap")).unwrap();
    for (name, hides) in [("plain", false), ("hidden", true)] {
        let more: &[&Path] = if hides { &[Path::new("--anonymize"), &key] } else { &[] };
        let (rows, _) = run(&scratch, name, &scratch.path("in"), more);
        assert!(!rows.is_empty());
        for end in ["jsonl", "arrow"] {
            let octets = fs::read(scratch.path(&format!("{name}.{end}"))).unwrap();
            let has = |text: &str| octets.windows(text.len()).any(|w| w == text.as_bytes());
            // (LZ4 leaves the first of each text as it is.)
            assert_eq!(has("10.1.0.1"), !hides, "{name}.{end}");
            assert_eq!(has("host-"), !hides, "{name}.{end}");
        }
    }
}

#[test]
fn a_flow_whose_options_may_hold_an_address_is_left_out() {
    let scratch = Scratch::new();
    let mut octets = fs::read(testdata("quick.pcap")).unwrap();
    // The first SYN's timestamps become an option of a load balancer that holds the client's
    // address.
    let at = octets.windows(4).position(|w| w == [4, 2, 8, 10]).expect("a SYN with timestamps") + 2;
    octets[at] = 254;
    let input = scratch.write("toa.pcap", &octets);
    let key = key_file(&scratch);
    let (plain, _) = run(&scratch, "plain", &input, &[]);
    let (hidden, log) = run(&scratch, "hidden", &input, &[Path::new("--anonymize"), &key]);
    assert_eq!(plain.len(), hidden.len() + 1);
    let said =
        log.iter().filter(|line| line["reason"] == "options that may hold an address").count();
    assert_eq!(said, 1);
}

#[test]
fn a_key_that_is_none_is_refused_with_how_to_make_one() {
    let scratch = Scratch::new();
    let refused = |key: &Path, expected: &str| {
        let output = tcp_encode(&[
            &testdata("quick.pcap"),
            &scratch.path("set"),
            Path::new("--anonymize"),
            key,
        ]);
        let said = stderr(&output);
        assert_eq!(code(&output), 2, "{said}");
        assert!(
            said.contains(expected) && said.contains("head -c 32 /dev/urandom > FILE"),
            "{said}"
        );
        assert!(!scratch.path("set").exists());
    };
    refused(&scratch.path("nowhere"), "no key");
    refused(&scratch.write("short", b"secret"), "expected 32 random octets");
    refused(&scratch.write("zeros", &[0; 32]), "expected 32 random octets");
}

#[test]
#[cfg(unix)]
fn a_key_that_others_can_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let key = key_file(&scratch);
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let set = scratch.path(&format!("set{mode}"));
        let output = tcp_encode(&[&testdata("quick.pcap"), &set, Path::new("--anonymize"), &key]);
        assert_eq!(
            (code(&output), stderr(&output).contains("chmod 600")),
            (0, warned),
            "{}",
            stderr(&output)
        );
    }
}
