//! SHELL. libpcap's filter compiler, loaded at run time: a fresh machine needs no headers to build
//! this program, and none of it is ever in the service. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use libloading::{Library, Symbol};

use netsonde_core::recorder::filter::Instruction;

/// Names of the library in distributions.
const NAMES: [&str; 3] = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];
/// No netmask, as `tcpdump -r` has none: `ip broadcast` is 255.255.255.255 (and 0.0.0.0). With
/// PCAP_NETMASK_UNKNOWN it would be an error.
const NO_NETMASK: c_uint = 0;

/// `struct bpf_program`.
#[repr(C)]
struct BpfProgram {
    length: c_uint,
    instructions: *mut BpfInstruction,
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BpfInstruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile =
    unsafe extern "C" fn(*mut c_void, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
type GetError = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type FreeCode = unsafe extern "C" fn(*mut BpfProgram);
type Close = unsafe extern "C" fn(*mut c_void);

/// The loaded library.
pub struct Libpcap(Library);

impl Libpcap {
    /// Loads the library. Returns `None` if it is not installed.
    pub fn load() -> Option<Libpcap> {
        NAMES.iter().find_map(|name| {
            // SAFETY: the constructors of libpcap and of what it depends on have no preconditions.
            unsafe { Library::new(*name) }.ok().map(Libpcap)
        })
    }

    /// Compiles an expression for a link type (a DLT_ number). The error is libpcap's own message.
    pub fn compile(&self, link_type: i32, expression: &str) -> Result<Vec<Instruction>, String> {
        let text = CString::new(expression)
            .map_err(|_| "a filter cannot contain a zero byte".to_owned())?;
        let missing = |error: libloading::Error| format!("this libpcap cannot be used: {error}");
        // SAFETY: the types are those of pcap.h, unchanged since libpcap 1.0.
        let (open, compile, error, free, close) = unsafe {
            let open: Symbol<'_, OpenDead> = self.0.get(b"pcap_open_dead\0").map_err(missing)?;
            let compile: Symbol<'_, Compile> = self.0.get(b"pcap_compile\0").map_err(missing)?;
            let error: Symbol<'_, GetError> = self.0.get(b"pcap_geterr\0").map_err(missing)?;
            let free: Symbol<'_, FreeCode> = self.0.get(b"pcap_freecode\0").map_err(missing)?;
            let close: Symbol<'_, Close> = self.0.get(b"pcap_close\0").map_err(missing)?;
            (open, compile, error, free, close)
        };
        // SAFETY: a handle without a capture device; it is closed below on every path.
        let handle = unsafe { open(link_type, 262_144) };
        if handle.is_null() {
            return Err("libpcap is out of memory".into());
        }
        let mut program = BpfProgram {
            length: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the handle is open, `program` is ours to fill, `text` ends with a zero byte.
        let result = unsafe { compile(handle, &mut program, text.as_ptr(), 1, NO_NETMASK) };
        let compiled = if result == 0 {
            // SAFETY: on success libpcap has made `length` instructions there.
            let made = unsafe {
                std::slice::from_raw_parts(program.instructions, program.length as usize)
            };
            let copied = made
                .iter()
                .map(|i| Instruction {
                    code: i.code,
                    jt: i.jt,
                    jf: i.jf,
                    k: i.k,
                })
                .collect();
            // SAFETY: what pcap_compile made, once.
            unsafe { free(&mut program) };
            Ok(copied)
        } else {
            // SAFETY: the handle is open; the text lives as long as it.
            let why = unsafe { CStr::from_ptr(error(handle)) };
            Err(why.to_string_lossy().into_owned())
        };
        // SAFETY: opened above, not used after this.
        unsafe { close(handle) };
        compiled
    }
}
