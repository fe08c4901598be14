//! The flow log of a run that forgets: a line for each conversation, in order, whatever is
//! forgotten on the way.

use std::fs;

use serde_json::Value;

use crate::{Scratch, encode, testdata};

/// A capture's frames again and again, each time an hour later.
fn again(name: &str, times: u32) -> Vec<u8> {
    let data = fs::read(testdata(name)).unwrap();
    let (head, frames) = data.split_at(24);
    let mut out = head.to_vec();
    for hour in 0..times {
        let mut at = 0;
        while at < frames.len() {
            let word = |at: usize| u32::from_le_bytes(frames[at..at + 4].try_into().unwrap());
            let end = at + 16 + word(at + 8) as usize;
            out.extend((word(at) + 3600 * hour).to_le_bytes());
            out.extend(&frames[at + 4..end]);
            at = end;
        }
    }
    out
}

#[test]
fn with_a_time_out_each_hour_has_the_same_lines() {
    let scratch = Scratch::new();
    let capture = scratch.write("again.pcap", &again("resets.pcap", 4));
    let (_, once, lines) = encode(&testdata("resets.pcap"), &["--idle-timeout", "600"]);
    let (_, summary, all) = encode(&capture, &["--idle-timeout", "600"]);
    let four_times = |name: &str| {
        assert_eq!(summary[name].as_u64(), once[name].as_u64().map(|n| 4 * n), "{name}")
    };
    ["conversations", "flows_kept", "packets_kept", "late_packets", "tcp_packets"]
        .into_iter()
        .for_each(four_times);
    assert_eq!(all.len(), 4 * lines.len());
    let frames = once["frames"].as_u64().unwrap();
    for (n, line) in all.into_iter().enumerate() {
        let mut expected = lines[n % lines.len()].clone();
        let hour = (n / lines.len()) as u64;
        expected["first_packet"] =
            Value::from(expected["first_packet"].as_u64().unwrap() + hour * frames);
        expected["file"] = Value::from("again.pcap");
        assert_eq!(line, expected);
    }
}
