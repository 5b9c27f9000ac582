//! A terminal of a given width, as a command sees it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Opens a terminal: the side of its user, and that of programs.
pub fn open(columns: u16) -> io::Result<(File, OwnedFd)> {
    let size = libc::winsize {
        ws_row: 40,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut user, mut program) = (-1, -1);
    // SAFETY: the kernel fills both numbers, and reads the size.
    let opened = unsafe {
        libc::openpty(
            &mut user,
            &mut program,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are descriptors of this process that nothing else owns.
    Ok(unsafe { (File::from_raw_fd(user), OwnedFd::from_raw_fd(program)) })
}

/// Runs a command on a terminal, and returns what the terminal shows, without colors.
pub fn shown(command: &mut Command, columns: u16) -> io::Result<String> {
    shown_until(command, columns, |_| false)
}

/// The same, but interrupts the command once the condition holds for what it has printed.
pub fn shown_until(
    command: &mut Command,
    columns: u16,
    is_enough: impl Fn(&str) -> bool,
) -> io::Result<String> {
    Ok(without_colors(&shown_raw_until(
        command, columns, is_enough,
    )?))
}

/// The same with all escape sequences.
pub fn shown_raw_until(
    command: &mut Command,
    columns: u16,
    is_enough: impl Fn(&str) -> bool,
) -> io::Result<String> {
    let (mut user, program) = open(columns)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(program.try_clone()?)
        .stderr(program)
        .spawn()?;
    // The command's descriptors close with it, and ours now, so that reading ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    let mut is_interrupted = false;
    // The last program's exit is EIO on this side.
    while let Ok(length @ 1..) = user.read(&mut room) {
        bytes.extend_from_slice(&room[..length]);
        if !is_interrupted && is_enough(&String::from_utf8_lossy(&bytes)) {
            is_interrupted = true;
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        }
    }
    child.wait()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn without_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain.replace('\r', "")
}
