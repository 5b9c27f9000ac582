//! SHELL. Names of addresses, by the resolver of this host. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::IpAddr;

/// Longest name that is returned, in bytes, with its end: NI_MAXHOST.
const MAX_NAME: usize = 1025;

/// Returns the name of an address; `None` if it has none, or the resolver does not answer. May wait for it for many
/// seconds.
pub fn name_of(address: IpAddr) -> Option<String> {
    let mut name = [0; MAX_NAME];
    let call = |storage: *const libc::sockaddr, length: usize, name: &mut [libc::c_char]| {
        // SAFETY: `storage` points to an address of `length` bytes, and `name` has the length that is passed.
        unsafe {
            libc::getnameinfo(
                storage,
                length as libc::socklen_t,
                name.as_mut_ptr(),
                name.len() as libc::socklen_t,
                std::ptr::null_mut(),
                0,
                libc::NI_NAMEREQD,
            )
        }
    };
    let result = match address {
        IpAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.octets()),
                },
                sin_zero: [0; 8],
            };
            call(
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address),
                &mut name,
            )
        }
        IpAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.octets(),
                },
                sin6_scope_id: 0,
            };
            call(
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address),
                &mut name,
            )
        }
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
