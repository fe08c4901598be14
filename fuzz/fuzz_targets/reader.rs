//! Any octets as a capture file: frames, or an error that says where.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpwire::CaptureReader;

fuzz_target!(|octets: &[u8]| {
    let Ok(mut reader) = CaptureReader::new(octets) else { return };
    let mut last = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        assert_eq!(frame.number, last + 1);
        last = frame.number;
    }
    assert_eq!(reader.frames(), last);
});
