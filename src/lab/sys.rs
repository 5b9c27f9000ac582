//! SHELL. Tap devices. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF as libc::Ioctl, libc::ifreq);

/// Opens a tap device of that name in the network namespace of the thread. It goes with the file.
pub fn open_tap(name: &str) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short,
        },
    };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is whole and lives over the call, which only reads and writes it.
    unsafe { tunsetiff(file.as_raw_fd(), &request) }?;
    Ok(file)
}
