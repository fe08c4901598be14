//! Generated flows in a capture of real traffic.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use arrowio::{DatasetFormat, FlowRow};
use tcpwire::{CaptureFormat, CaptureWriter, TimestampUnit};
use testkit::{Scratch, testdata};

use crate::{Frame, dataset, decode, flow, frames_of, generated, run, text};

/// The columns of a CSV file by their names, a map for each line.
fn lines(path: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn rows() -> Vec<FlowRow> {
    (0..20).map(|n| generated(&flow(40_000 + n, 0, 1))).collect()
}

#[test]
fn flows_are_mixed_into_a_capture_whose_frames_stay() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    let real = testdata("quick.pcap").display().to_string();
    let [mixed, labels, packets] =
        ["mixed.pcap", "labels.csv", "packets.csv"].map(|name| scratch.path_text(name));
    let options = [&set, &mixed, "--into", &real, "--labels", &labels, "--packet-labels", &packets];
    let (code, summary) = decode(&options.map(AsRef::as_ref));
    assert_eq!(code, 0);
    let (found, background) = (frames_of(&mixed), frames_of(&real));
    assert_eq!(summary["frames_of_background"], background.len());
    let named: BTreeMap<usize, String> = lines(&packets)
        .into_iter()
        .map(|line| (line["frame"].parse().unwrap(), line["flow"].clone()))
        .collect();
    assert_eq!(named.len() as u64, summary["packets"].as_u64().unwrap());
    // Without the packets that are named, the capture is the real one.
    let is_named = |at: usize| named.contains_key(&(at + 1));
    let others: Vec<&Frame> =
        found.iter().enumerate().filter(|(at, _)| !is_named(*at)).map(|(_, f)| f).collect();
    assert!(others.into_iter().eq(&background));
    assert!(found.is_sorted_by_key(|frame| frame.time_ns));
    // Flows lie within the capture's times, at addresses of their own.
    let (first, last) = (background[0].time_ns, background[background.len() - 1].time_ns);
    let taken: HashSet<String> = background.iter().flat_map(|f| [f.ends().0, f.ends().2]).collect();
    let flows = lines(&labels);
    assert_eq!(flows.len(), 20);
    for line in &flows {
        let at: usize = line["first_frame"].parse().unwrap();
        let start = found[at - 1].time_ns;
        assert_eq!(
            (named[&at].as_str(), start.to_string()),
            (&*line["flow"], line["start_ns"].clone())
        );
        assert!((first - 1_000..=last).contains(&start), "{start}");
        assert!(!taken.contains(&line["client_addr"]) && !taken.contains(&line["server_addr"]));
        let packets = named.values().filter(|flow| **flow == line["flow"]).count();
        assert_eq!(packets.to_string(), line["packets"]);
    }
    let again = fs::read(&mixed).unwrap();
    decode(&options.map(AsRef::as_ref));
    assert_eq!(fs::read(&mixed).unwrap(), again);
}

#[test]
fn addresses_of_the_capture_are_never_given() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    let real = testdata("quick.pcap").display().to_string();
    let v4 = frames_of(&real).into_iter().find(|frame| frame.octets[12..14] == [8, 0]);
    let (client, _, server, _) = v4.unwrap().ends();
    let mixed = scratch.path_text("mixed.pcap");
    let nets = ["--client-net", &client, "--server-net", &server];
    let (code, summary) = decode(&[&[&*set, &mixed, "--into", &real][..], &nets].concat());
    assert_eq!((code, summary["flows_written"].as_u64()), (1, Some(0)));
    assert_eq!(frames_of(&mixed), frames_of(&real));
}

#[test]
fn captures_that_flows_do_not_fit_into_are_refused() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    let mixed = scratch.path_text("mixed.pcap");
    let check = |into: &str, more: &[&str], expected: &str| {
        let output = run(&[&[&*set, &mixed, "--into", into], more].concat());
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
        assert!(!scratch.path("mixed.pcap").exists());
    };
    let empty = scratch.path_text("empty.pcap");
    let format = CaptureFormat::Pcap(TimestampUnit::Micros);
    let writer = CaptureWriter::new(fs::File::create(&empty).unwrap(), format).unwrap();
    drop(writer);
    check(&empty, &[], "expected frames to mix flows into, found none");
    // Raw IP, as tunnels have it.
    let mut octets = fs::read(testdata("quick.pcap")).unwrap();
    octets[20] = 101;
    let raw = scratch.path_text("raw.pcap");
    fs::write(&raw, &octets).unwrap();
    check(&raw, &[], "frame 1: expected Ethernet (link type 1), found link type 101");
    let cut = scratch.path_text("cut.pcap");
    fs::write(&cut, &fs::read(testdata("quick.pcap")).unwrap()[..1_000]).unwrap();
    check(&cut, &[], "cut.pcap");
    let real = testdata("quick.pcap").display().to_string();
    check(&real, &["--split", "flow"], "cannot be used with");
    check(&real, &["--start-time", "5"], "cannot be used with");
    check(&mixed, &[], "mixed.pcap");
    check(&real, &["--packet-labels", "-"], "--packet-labels -: expected a file, found stdout");
    let other = scratch.path_text("other.csv");
    fs::write(&other, "a,b\n").unwrap();
    check(&real, &["--packet-labels", &other, "--force"], "other.csv");
    assert_eq!(fs::read(&other).unwrap(), b"a,b\n");
}
