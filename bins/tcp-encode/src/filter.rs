//! Filters of libpcap (`--filter`), which is loaded when one is asked for: the language is that of
//! tcpdump, whatever the version that is installed.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use libloading::Library;
use tcpwire::{Frame, LinkType};

/// File names of libpcap: Linux, Debian, macOS, Npcap.
const LIBRARIES: [&str; 5] =
    ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so", "libpcap.A.dylib", "wpcap.dll"];

/// Largest packet that a program is compiled for, in octets.
const SNAP_LEN: c_int = 262_144;

/// Link types of which one must be filtered by an expression.
const COMMON: [LinkType; 5] =
    [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType::RADIOTAP, LinkType::PPP];

/// Compiled filter: libpcap's `struct bpf_program`.
#[repr(C)]
struct BpfProgram {
    len: c_uint,
    instructions: *mut c_void,
}

/// libpcap, with the functions that are called.
struct Libpcap {
    open_dead: unsafe extern "C" fn(c_int, c_int) -> *mut c_void,
    compile: unsafe extern "C" fn(*mut c_void, *mut BpfProgram, *const c_char, c_int, u32) -> c_int,
    error: unsafe extern "C" fn(*mut c_void) -> *const c_char,
    free: unsafe extern "C" fn(*mut BpfProgram),
    close: unsafe extern "C" fn(*mut c_void),
    filter: unsafe extern "C" fn(*const c_void, *const u8, c_uint, c_uint) -> c_uint,
    /// Held while a program is compiled: versions before 1.8 compile one at a time.
    compiling: Mutex<()>,
    /// Keeps the functions loaded.
    _library: Library,
}

impl Libpcap {
    fn load() -> anyhow::Result<Libpcap> {
        // SAFETY: libpcap's initializers set up its own memory alone.
        let mut found = LIBRARIES.iter().filter_map(|name| unsafe { Library::new(name) }.ok());
        let library = found.next().context(
            "--filter: expected libpcap, found none (its package is libpcap, in Debian libpcap0.8)",
        )?;
        // SAFETY: the types of the functions are those of libpcap's documentation since 0.8.
        let loaded = unsafe {
            Libpcap {
                open_dead: *library.get(b"pcap_open_dead\0")?,
                compile: *library.get(b"pcap_compile\0")?,
                error: *library.get(b"pcap_geterr\0")?,
                free: *library.get(b"pcap_freecode\0")?,
                close: *library.get(b"pcap_close\0")?,
                filter: *library.get(b"bpf_filter\0")?,
                compiling: Mutex::new(()),
                _library: library,
            }
        };
        Ok(loaded)
    }
}

/// Filter of frames with one link type.
struct Program {
    program: BpfProgram,
    library: Arc<Libpcap>,
}

// SAFETY: a program is not changed once it is compiled, and belongs to no thread.
unsafe impl Send for Program {}

impl Program {
    /// Compiles an expression.
    ///
    /// # Errors
    /// libpcap's message, if the expression is not valid for the link type.
    fn compile(
        library: &Arc<Libpcap>,
        expression: &str,
        link: LinkType,
    ) -> Result<Program, String> {
        let text = CString::new(expression).map_err(|error| error.to_string())?;
        let _one_at_a_time = lock(&library.compiling);
        let mut program = BpfProgram { len: 0, instructions: std::ptr::null_mut() };
        // SAFETY: the handle is checked, used by this thread alone, and closed once; the message is
        // copied before that. A program is freed by `drop` alone, and only if it was compiled.
        unsafe {
            let handle = (library.open_dead)(dlt(link), SNAP_LEN);
            if handle.is_null() {
                return Err("libpcap has no memory".to_owned());
            }
            let is_compiled = (library.compile)(handle, &mut program, text.as_ptr(), 1, 0) == 0;
            let message = CStr::from_ptr((library.error)(handle)).to_string_lossy().into_owned();
            (library.close)(handle);
            if !is_compiled {
                return Err(message);
            }
        }
        Ok(Program { program, library: Arc::clone(library) })
    }

    fn takes(&self, frame: &Frame<'_>) -> bool {
        let captured = frame.data.len() as c_uint;
        let wire_len = frame.orig_len.max(captured);
        // SAFETY: the program was compiled, and the filter reads no more than `captured` octets.
        unsafe {
            let instructions = self.program.instructions.cast_const();
            (self.library.filter)(instructions, frame.data.as_ptr(), wire_len, captured) != 0
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was compiled, and is freed once.
        unsafe { (self.library.free)(&mut self.program) }
    }
}

/// Returns libpcap's own number of a link type, which differs for some from that in files.
fn dlt(link: LinkType) -> c_int {
    match link.0 {
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        other => other as c_int,
    }
}

/// Filter expression of a run.
pub(crate) struct PcapFilter {
    library: Arc<Libpcap>,
    expression: String,
    /// Link types that the expression is not valid for, with libpcap's message.
    refused: Mutex<BTreeMap<LinkType, String>>,
}

impl fmt::Debug for PcapFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcapFilter({:?})", self.expression)
    }
}

impl PcapFilter {
    /// Loads libpcap and checks an expression.
    ///
    /// # Errors
    /// If there is no libpcap, or the expression is not valid for any common link type; the message
    /// says where.
    pub(crate) fn new(expression: &str) -> anyhow::Result<PcapFilter> {
        let library = Arc::new(Libpcap::load()?);
        if let Err(message) = check(&library, expression) {
            bail!("--filter '{expression}': {}: {message}", place(&library, expression, &message));
        }
        let refused = Mutex::default();
        Ok(PcapFilter { library, expression: expression.to_owned(), refused })
    }

    /// Returns a function that tells whether the filter takes a frame, for one thread.
    pub(crate) fn frames(self: &Arc<Self>) -> impl FnMut(&Frame<'_>) -> bool + Send + use<> {
        let filter = Arc::clone(self);
        let mut programs: Vec<(LinkType, Option<Program>)> = Vec::new();
        move |frame| {
            let known = programs.iter().find(|(link, _)| *link == frame.link);
            if let Some((_, program)) = known {
                return program.as_ref().is_some_and(|program| program.takes(frame));
            }
            let program = filter.compile(frame.link);
            let is_taken = program.as_ref().is_some_and(|program| program.takes(frame));
            programs.push((frame.link, program));
            is_taken
        }
    }

    /// Compiles the expression for a link type; `None` if it is not valid for that.
    fn compile(&self, link: LinkType) -> Option<Program> {
        match Program::compile(&self.library, &self.expression, link) {
            Ok(program) => Some(program),
            Err(message) => {
                lock(&self.refused).insert(link, message);
                None
            }
        }
    }

    /// Returns a line for each link type of frames so far that the expression is not valid for.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let refused = lock(&self.refused);
        let line = |(link, message): (&LinkType, &String)| {
            format!(
                "--filter '{}': no frame of link type {link} is taken: {message}",
                self.expression
            )
        };
        refused.iter().map(line).collect()
    }
}

/// Locks a mutex, whose value is whole after every panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks that an expression is valid for a common link type.
///
/// # Errors
/// libpcap's message for Ethernet.
fn check(library: &Arc<Libpcap>, expression: &str) -> Result<(), String> {
    let mut errors = Vec::new();
    for link in COMMON {
        match Program::compile(library, expression, link) {
            Ok(_) => return Ok(()),
            Err(message) => errors.push(message),
        }
    }
    Err(errors.swap_remove(0))
}

/// Texts of which one completes each beginning of a valid expression.
const ENDS: [&str; 14] = [
    "",
    " 1",
    " host 1.2.3.4",
    " 1.2.3.4",
    " 1-2",
    " 255.0.0.0",
    " 00:00:00:00:00:00",
    " ip",
    " multicast",
    " = 0",
    " 0 = 0",
    "] = 0",
    " 0] = 0",
    " mgt",
];

/// Returns the place of the fault of an expression that is not valid. A message of libpcap's about
/// a name has it in quotes.
fn place(library: &Arc<Libpcap>, expression: &str, message: &str) -> String {
    let name = message.split('\'').nth(1).filter(|name| !name.is_empty());
    match name.and_then(|name| expression.find(name).map(|start| (start, start + name.len()))) {
        Some((start, end)) => at(expression, start, end),
        None => fault(library, expression),
    }
}

/// Returns a place in an expression, as a message.
fn at(expression: &str, start: usize, end: usize) -> String {
    let column = expression[..start].chars().count() + 1;
    format!("wrong from character {column} on, at '{}'", &expression[start..end])
}

/// Returns the place where an expression that is not valid begins to be so: libpcap's own messages
/// name none. The words before a fault can be completed to a valid expression, with the fault they
/// cannot.
fn fault(library: &Arc<Libpcap>, expression: &str) -> String {
    for (start, end) in words(expression) {
        let beginning = &expression[..end];
        let open = beginning.matches('(').count().saturating_sub(beginning.matches(')').count());
        let can_be_completed = ENDS
            .iter()
            .any(|text| check(library, &format!("{beginning}{text}{}", ")".repeat(open))).is_ok());
        if !can_be_completed {
            return at(expression, start, end);
        }
    }
    "expected more at its end".to_owned()
}

/// Returns the start and the end of each word. Spaces part words, and a parenthesis is one.
fn words(expression: &str) -> Vec<(usize, usize)> {
    let mut words: Vec<(usize, usize)> = Vec::new();
    let mut is_inside = false;
    for (at, character) in expression.char_indices() {
        let is_parenthesis = matches!(character, '(' | ')');
        let end = at + character.len_utf8();
        match words.last_mut() {
            _ if character.is_whitespace() => {}
            Some(last) if is_inside && !is_parenthesis => last.1 = end,
            _ => words.push((at, end)),
        }
        is_inside = !character.is_whitespace() && !is_parenthesis;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_parentheses() {
        let expression = "tcp and (port 80)";
        let found: Vec<&str> =
            words(expression).into_iter().map(|(start, end)| &expression[start..end]).collect();
        assert_eq!(found, ["tcp", "and", "(", "port", "80", ")"]);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a message to the person who runs the tests")]
    fn a_wrong_expression_is_refused_with_the_place() {
        let Ok(library) = Libpcap::load() else {
            eprintln!("skipped: no libpcap here");
            return;
        };
        let library = Arc::new(library);
        let check = |expression: &str, expected: &str| {
            let message = super::check(&library, expression).unwrap_err();
            assert_eq!(place(&library, expression, &message), expected, "{expression}");
        };
        check("prot 80", "wrong from character 1 on, at 'prot'");
        check("tcp and prot 80", "wrong from character 9 on, at 'prot'");
        check("tcp and (port 80 or or port 81)", "wrong from character 21 on, at 'or'");
        check("port 80 and net 10.0.0.0/33", "wrong from character 17 on, at '10.0.0.0/33'");
        check("tcp[tcpflags] & tcp-syn != 0 )", "wrong from character 30 on, at ')'");
        check("tcp and port", "expected more at its end");
        check("(tcp", "expected more at its end");
    }
}
