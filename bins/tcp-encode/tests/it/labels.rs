//! Labels: columns of the dataset, from a file of labels or from paths.

use std::fs;
use std::path::Path;

use arrowio::{DatasetReader, FlowSummary};
use dataset::RowCodec;
use testkit::{Scratch, testdata};

use super::{code, stderr, tcp_encode};

/// Copies two captures into folders of their classes.
fn captures() -> Scratch {
    let scratch = Scratch::new();
    for (folder, name) in [("web", "quick.pcap"), ("db", "postgres.pcap")] {
        fs::create_dir_all(scratch.path("in").join(folder)).unwrap();
        fs::copy(testdata(name), scratch.path("in").join(folder).join(name)).unwrap();
    }
    scratch
}

/// Encodes the captures; returns the summaries of the flows and what was said.
fn labelled(scratch: &Scratch, options: &[&str]) -> (Vec<FlowSummary>, String) {
    let set = scratch.path("set.arrows");
    let input = scratch.path("in");
    let mut args: Vec<&Path> = vec![&input, &set, Path::new("--force")];
    args.extend(options.iter().map(Path::new));
    let output = tcp_encode(&args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let rows = DatasetReader::open(&set, &[RowCodec::Field.id()]).unwrap();
    (rows.map(|row| row.unwrap().summary.unwrap()).collect(), stderr(&output))
}

#[test]
fn a_class_is_a_folder() {
    let scratch = captures();
    let (flows, said) = labelled(&scratch, &["--label-from", "folder"]);
    for flow in &flows {
        let expected = if flow.source.starts_with("db/") { "db" } else { "web" };
        assert_eq!((flow.label.as_deref(), &flow.group), (Some(expected), &None));
    }
    assert!(!said.contains("without a label"), "{said}");
    let (flows, _) = labelled(&scratch, &["--label-from", "name"]);
    assert!(flows.iter().all(|f| f.label.as_ref().is_some_and(|l| f.source.contains(l.as_str()))));
}

#[test]
fn rows_label_captures_and_single_flows() {
    let scratch = captures();
    let (flows, said) = labelled(&scratch, &[]);
    assert!(flows.iter().all(|flow| flow.label.is_none()) && said.is_empty(), "{said}");
    let web: Vec<&FlowSummary> = flows.iter().filter(|f| f.source.starts_with("web/")).collect();
    let text = format!(
        "file,first_frame,task,label,group\nweb/quick.pcap,,t,page,a\n\
         in/web/quick.pcap,{},t,odd one,b\nelsewhere.pcap,,t,x,\n",
        web[0].first_frame
    );
    let table = scratch.write("labels.csv", text.as_bytes());
    let (labelled, said) = labelled(&scratch, &["--labels", table.to_str().unwrap()]);
    for flow in &labelled {
        let expected = match (flow.source.as_str(), flow.first_frame == web[0].first_frame) {
            // The list names the capture twice: below INPUT, and from its own folder.
            ("web/quick.pcap", true) => Some(("odd one", Some("b"))),
            ("web/quick.pcap", false) => Some(("page", Some("a"))),
            _ => None,
        };
        let found = flow.label.as_deref().map(|label| (label, flow.group.as_deref()));
        assert_eq!(found, expected, "{flow:?}");
    }
    let unlabelled = flows.len() - web.len();
    assert!(said.contains(&format!("{unlabelled} of {} flows without a label", flows.len())));
    assert!(said.contains("1 row about no flow that is kept, the first in line 4"), "{said}");
}

/// Each conversation of a labelled capture has the label of its row, and each row is about a flow.
#[test]
fn recorded_labels_are_about_the_conversations() {
    let root = testkit::repository_root();
    let text = fs::read_to_string(root.join("benchmark/labels.csv")).unwrap();
    let name = "odd-home-mixed-1.pcap.zst";
    let rows = text.lines().filter(|line| line.starts_with(name)).map(|row| format!("{row}\n"));
    let head = text.lines().next().unwrap().replace("activity", "label");
    let rows = format!("{head}\n{}", rows.collect::<String>());
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(root.join("benchmark/captures").join(name), scratch.path("in").join(name)).unwrap();
    let table = scratch.write("labels.csv", rows.as_bytes());
    let options = ["--keep", "all", "--labels", table.to_str().unwrap()];
    let (flows, said) = labelled(&scratch, &options);
    assert!(said.is_empty(), "{said}");
    let odd = flows.iter().filter(|flow| flow.label.as_deref() != Some("benign")).count();
    assert_eq!((flows.len(), odd), (rows.lines().count() - 1, 95));
    assert!(flows.iter().all(|flow| flow.label.is_some() && flow.group.is_some()));
}
