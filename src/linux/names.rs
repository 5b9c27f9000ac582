//! SHELL. Names of addresses, by the resolver of this host. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// Longest name that is returned, in bytes, with its end: NI_MAXHOST.
const MAX_NAME: usize = 1025;

/// Returns the name of an address; `None` if it has none, or the resolver does not answer. May wait for it for many
/// seconds.
pub fn name_of(address: IpAddr) -> Option<String> {
    let address = SockAddr::from(SocketAddr::new(address, 0));
    let mut name = [0; MAX_NAME];
    // SAFETY: the address is of the length that is passed, and so is `name`.
    let result = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr(),
            name.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if result != 0 {
        return None;
    }
    let bytes: Vec<u8> = name.iter().map(|byte| *byte as u8).collect();
    let name = CStr::from_bytes_until_nul(&bytes).ok()?;
    Some(name.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_resolver() {
        // /etc/hosts has it on any system; an address without a name is none.
        assert!(name_of("127.0.0.1".parse().unwrap()).is_none_or(|name| !name.contains('\0')));
    }
}
