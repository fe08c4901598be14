//! Several captures read as one.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tcpwire::{CaptureInput, MergedReader};

/// Returns a capture of frames at the given seconds.
fn capture(seconds: &[u32]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let mut octets = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101]);
    for &second in seconds {
        octets.extend(words(&[second, 0, 4, 4, 0]));
    }
    octets
}

/// Input that counts how many of its kind are open.
struct Counted(Cursor<Vec<u8>>, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        self.0.read(octets)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads captures as one. Returns the seconds of the frames with their captures and numbers, the
/// ends as capture, frames and damage, and the largest number of captures that were open at once.
type Merged = (Vec<(u64, usize, u64)>, Vec<(usize, u64, String)>, usize);

fn merge(captures: &[Vec<u8>], is_stream: bool) -> Merged {
    let (open, mut most) = (Arc::new(AtomicUsize::new(0)), 0);
    let mut reader = MergedReader::new(captures.len(), |n| {
        if captures[n].is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        open.fetch_add(1, Ordering::Relaxed);
        let input = Box::new(Counted(Cursor::new(captures[n].clone()), Arc::clone(&open)));
        Ok(if is_stream { CaptureInput::Stream(input) } else { CaptureInput::File(input) })
    });
    let (mut frames, mut ends) = (Vec::new(), Vec::new());
    while reader.advance() {
        let current = reader.current().unwrap();
        let frame = current.frame();
        frames.push((frame.time_ns as u64 / 1_000_000_000, current.capture(), frame.number));
        most = most.max(open.load(Ordering::Relaxed));
    }
    while let Some(end) = reader.pop_ended() {
        let damage = end.damage.map(|damage| damage.to_string()).unwrap_or_default();
        ends.push((end.capture, end.frames, damage));
    }
    assert_eq!(reader.captures(), captures.len());
    drop(reader);
    assert_eq!(open.load(Ordering::Relaxed), 0);
    (frames, ends, most)
}

#[test]
fn overlapping_captures_are_in_order_of_time() {
    let taps = [capture(&[1, 4, 5]), capture(&[2, 3, 6])];
    for is_stream in [false, true] {
        let (frames, ends, most) = merge(&taps, is_stream);
        let expected = [(1, 0, 1), (2, 1, 1), (3, 1, 2), (4, 0, 2), (5, 0, 3), (6, 1, 3)];
        assert_eq!((frames, most), (expected.to_vec(), 2), "{is_stream}");
        assert_eq!(ends, [(0, 3, String::new()), (1, 3, String::new())]);
    }
}

#[test]
fn captures_one_behind_the_other_are_open_one_at_a_time() {
    let parts: Vec<Vec<u8>> = (0..50).rev().map(|n| capture(&[3 * n, 3 * n + 1])).collect();
    let (frames, ends, most) = merge(&parts, false);
    assert!(frames.is_sorted());
    assert_eq!((frames.len(), ends.len(), most), (100, 50, 1));
    assert_eq!((frames[0], frames[99]), ((0, 49, 1), (148, 0, 2)));
}

#[test]
fn of_frames_at_one_time_those_of_the_capture_that_began_first_come_first() {
    let parts = [capture(&[5, 5, 9]), capture(&[3, 5, 5])];
    let (frames, _, _) = merge(&parts, false);
    let order: Vec<_> = frames.iter().map(|(_, capture, number)| (*capture, *number)).collect();
    assert_eq!(order, [(1, 1), (1, 2), (1, 3), (0, 1), (0, 2), (0, 3)]);
}

#[test]
fn the_order_within_a_capture_stays() {
    let (frames, _, _) = merge(&[capture(&[1, 9, 2, 10]), capture(&[3, 4])], false);
    let seconds: Vec<u64> = frames.iter().map(|(second, _, _)| *second).collect();
    assert_eq!(seconds, [1, 3, 4, 9, 2, 10]);
}

#[test]
fn a_capture_that_cannot_be_read_leaves_the_others_whole() {
    let cut = capture(&[2, 4])[..60].to_vec();
    let parts = [capture(&[1, 5]), cut, b"no capture".to_vec(), Vec::new(), capture(&[])];
    let (frames, ends, _) = merge(&parts, false);
    assert_eq!(frames, [(1, 0, 1), (2, 1, 1), (5, 0, 2)]);
    let said = |capture: usize| ends.iter().find(|end| end.0 == capture).unwrap();
    assert_eq!(said(0), &(0, 2, String::new()));
    assert!(said(1).2.starts_with("cut short at offset 44, in frame 2"), "{}", said(1).2);
    assert!(said(2).2.starts_with("not a capture"), "{}", said(2).2);
    assert!(said(3).2.starts_with("can not be read at offset 0"), "{}", said(3).2);
    assert_eq!(said(4), &(4, 0, String::new()));
}

#[test]
fn one_capture_is_opened_once() {
    let (frames, ends, most) = merge(&[capture(&[2, 1])], false);
    assert_eq!((frames, most), (vec![(2, 0, 1), (1, 0, 2)], 1));
    assert_eq!(ends, [(0, 2, String::new())]);
    assert_eq!(merge(&[b"none".to_vec()], false).0, []);
    assert_eq!(merge(&[], false).0, []);
}
