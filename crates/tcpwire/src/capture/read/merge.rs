//! Several captures read as one, in order of time.

use std::collections::VecDeque;
use std::io;

use super::{CaptureReader, Frame, ReadError, Source, TimestampResolution, at_start};

/// Input of a capture.
pub enum CaptureInput<'r> {
    /// File that can be opened again: it is closed again until its first frame is due.
    File(Box<dyn io::Read + Send + 'r>),
    /// Pipe, which can be read once.
    Stream(Box<dyn io::Read + Send + 'r>),
}

impl<'r> CaptureInput<'r> {
    /// Begins to read the capture. Returns whether it is a pipe, too.
    fn read(self) -> Result<(CaptureReader<'r>, bool), ReadError> {
        let (source, is_stream): (Source<'r>, bool) = match self {
            CaptureInput::File(source) => (source, false),
            CaptureInput::Stream(source) => (source, true),
        };
        Ok((CaptureReader::new(source)?, is_stream))
    }
}

/// Opens the capture of a number, from 0.
type OpenFn<'r> = Box<dyn FnMut(usize) -> io::Result<CaptureInput<'r>> + Send + 'r>;

/// Largest number of captures that are open at once: a process may have 1024 files open.
const MAX_OPEN: usize = 512;

/// Place of a frame in the order of all: its time, and the rank of its capture. Of two frames at
/// the same time, that of the capture which began first comes first.
type Turn = (i64, u32);

/// Turn after all others.
const LAST: Turn = (i64::MAX, u32::MAX);

/// Place of a capture without frames, or of none.
const NO_PLACE: usize = usize::MAX;

/// Capture whose first frame is known, and which is closed until that is due.
struct Waiting {
    turn: Turn,
    capture: usize,
}

/// Open capture of a [`MergedReader`]. The reader stands at the frame that is to be given next.
pub struct OpenCapture<'r> {
    turn: Turn,
    capture: usize,
    reader: CaptureReader<'r>,
    damage: Option<ReadError>,
}

impl OpenCapture<'_> {
    /// Returns the number of the capture, from 0.
    #[inline]
    #[must_use]
    pub fn capture(&self) -> usize {
        self.capture
    }

    /// Returns the frame that the capture stands at.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        self.reader.frame()
    }

    /// Moves to the next frame; `false` at the end or at a damage.
    #[inline]
    fn advance(&mut self) -> bool {
        match self.reader.advance() {
            Ok(true) => {
                // A frame without a time follows the one before it.
                if self.reader.record.resolution != TimestampResolution::Invalid {
                    self.turn.0 = self.reader.record.time_ns;
                }
                true
            }
            Ok(false) => false,
            Err(damage) => {
                self.damage = Some(damage);
                false
            }
        }
    }

    fn into_end(self, place: usize) -> CaptureEnd {
        CaptureEnd {
            capture: self.capture,
            place,
            frames: self.reader.frames(),
            octets: self.reader.offset(),
            damage: self.damage,
            has_trailing_garbage: self.reader.has_trailing_garbage(),
        }
    }
}

/// Capture of a [`MergedReader`] that is read to its end or to its damage.
#[derive(Debug)]
pub struct CaptureEnd {
    /// Number of the capture, from 0.
    pub capture: usize,
    /// [Place](MergedReader::place) of its frames.
    pub place: usize,
    /// Number of its frames.
    pub frames: u64,
    /// Number of its octets, after decompression.
    pub octets: u64,
    /// Error that ended the reading early, if one did.
    pub damage: Option<ReadError>,
    /// Whether octets after the end of a compressed stream were passed over, zeros apart.
    pub has_trailing_garbage: bool,
}

/// Reads several captures as one: frames in order of time where captures overlap, and one capture
/// behind the other where they do not. A capture is open from its first frame to its last.
///
/// The order within a capture stays. Each capture has its own link types and resolutions.
pub struct MergedReader<'r> {
    captures: usize,
    open_capture: OpenFn<'r>,
    /// Closed captures; the one whose first frame is due first comes last.
    waiting: Vec<Waiting>,
    /// Open captures, by place.
    open: Vec<Option<OpenCapture<'r>>>,
    /// Place of the current frame's capture.
    place: usize,
    /// Turn up to which the frames of the current capture come first.
    others: Turn,
    ended: VecDeque<CaptureEnd>,
}

impl<'r> MergedReader<'r> {
    /// Begins to read captures number 0 to `captures - 1`, which `open` opens. With more than one,
    /// each is opened once to read its first frame, and again when that is due.
    pub fn new(
        captures: usize,
        open: impl FnMut(usize) -> io::Result<CaptureInput<'r>> + Send + 'r,
    ) -> MergedReader<'r> {
        let mut merged = MergedReader {
            captures,
            open_capture: Box::new(open),
            waiting: Vec::new(),
            open: Vec::new(),
            place: NO_PLACE,
            others: LAST,
            ended: VecDeque::new(),
        };
        if captures == 1 {
            merged.begin(Waiting { turn: (0, 0), capture: 0 });
        } else {
            merged.rank(captures);
        }
        merged
    }

    /// Reads the first frame of each capture, to rank them by its time.
    fn rank(&mut self, captures: usize) {
        let mut first_frames = Vec::with_capacity(captures);
        for capture in 0..captures {
            match self.read(Waiting { turn: (i64::MIN, 0), capture }) {
                Ok((mut open, is_stream)) => {
                    if open.advance() {
                        let first_ns = open.turn.0;
                        first_frames.push((first_ns, capture, is_stream.then_some(open)));
                    } else {
                        self.end(open);
                    }
                }
                Err(damage) => self.fail(capture, damage),
            }
        }
        first_frames.sort_by_key(|(first_ns, capture, _)| (*first_ns, *capture));
        for (rank, (first_ns, capture, open)) in first_frames.into_iter().enumerate() {
            let turn = (first_ns, rank as u32);
            match open {
                Some(stream) => self.open.push(Some(OpenCapture { turn, ..stream })),
                None => self.waiting.push(Waiting { turn, capture }),
            }
        }
        self.waiting.reverse();
    }

    fn read(&mut self, waiting: Waiting) -> Result<(OpenCapture<'r>, bool), ReadError> {
        let input = (self.open_capture)(waiting.capture).map_err(at_start)?;
        let (reader, is_stream) = input.read()?;
        let Waiting { turn, capture } = waiting;
        Ok((OpenCapture { turn, capture, reader, damage: None }, is_stream))
    }

    /// Opens a capture whose first frame is due.
    fn begin(&mut self, waiting: Waiting) {
        let capture = waiting.capture;
        if self.open.iter().flatten().count() >= MAX_OPEN {
            let message = format!("expected at most {MAX_OPEN} captures at the same time");
            return self.fail(capture, at_start(io::Error::other(message)));
        }
        let mut open = match self.read(waiting) {
            Ok((open, _)) => open,
            Err(damage) => return self.fail(capture, damage),
        };
        if !open.advance() {
            return self.end(open);
        }
        match self.open.iter().position(Option::is_none) {
            Some(free) => self.open[free] = Some(open),
            None => self.open.push(Some(open)),
        }
    }

    /// Records the end of a capture without a frame.
    fn end(&mut self, open: OpenCapture<'r>) {
        self.ended.push_back(open.into_end(NO_PLACE));
    }

    /// Records a capture that cannot be read at all.
    fn fail(&mut self, capture: usize, damage: ReadError) {
        self.ended.push_back(CaptureEnd {
            capture,
            place: NO_PLACE,
            frames: 0,
            octets: 0,
            damage: Some(damage),
            has_trailing_garbage: false,
        });
    }

    /// Moves to the next frame of all captures; `false` at the end of the last one.
    #[inline]
    pub fn advance(&mut self) -> bool {
        if let Some(Some(open)) = self.open.get_mut(self.place) {
            if !open.advance() {
                if let Some(open) = self.open[self.place].take() {
                    self.ended.push_back(open.into_end(self.place));
                }
            } else if self.captures == 1 || open.turn <= self.others {
                return true;
            }
        }
        self.choose()
    }

    /// Makes the capture current whose frame is due first.
    fn choose(&mut self) -> bool {
        loop {
            let first = self.open.iter().flatten().map(|open| open.turn).min().unwrap_or(LAST);
            match self.waiting.pop_if(|next| next.turn <= first) {
                Some(next) => self.begin(next),
                None => break,
            }
        }
        let turns = self.open.iter().enumerate();
        let turns = turns.filter_map(|(place, open)| Some((open.as_ref()?.turn, place)));
        let Some((_, place)) = turns.clone().min() else { return false };
        self.place = place;
        let others = turns.filter(|(_, other)| *other != place).map(|(turn, _)| turn);
        self.others = others.chain(self.waiting.last().map(|next| next.turn)).min().unwrap_or(LAST);
        true
    }

    /// Returns the capture with the frame that [`advance`](Self::advance) moved to; `None` unless
    /// the last call of `advance` returned `true`.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Option<&OpenCapture<'r>> {
        self.open.get(self.place)?.as_ref()
    }

    /// Returns the place of the current frame's capture among those that are open. A capture keeps
    /// its place until its end; then another one takes it.
    #[inline]
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// Returns the number of captures, of which some may have ended.
    #[must_use]
    pub fn captures(&self) -> usize {
        self.captures
    }

    /// Returns whether [`pop_ended`](Self::pop_ended) would give a capture.
    #[inline]
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Removes and returns the first capture that has ended.
    pub fn pop_ended(&mut self) -> Option<CaptureEnd> {
        self.ended.pop_front()
    }
}

impl<'r> From<CaptureReader<'r>> for MergedReader<'r> {
    /// Reads a capture alone, from its next frame on.
    fn from(reader: CaptureReader<'r>) -> MergedReader<'r> {
        let open = OpenCapture { turn: (0, 0), capture: 0, reader, damage: None };
        MergedReader {
            captures: 1,
            open_capture: Box::new(|_| Err(io::ErrorKind::NotFound.into())),
            waiting: Vec::new(),
            open: vec![Some(open)],
            place: 0,
            others: LAST,
            ended: VecDeque::new(),
        }
    }
}
