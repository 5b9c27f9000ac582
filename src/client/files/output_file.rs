//! SHELL. A file that a command writes. A regular file is written under a temporary name in its
//! directory and renamed when it is complete, so that a command that fails leaves an existing file as it
//! was. Standard output, devices, FIFOs and inherited descriptors hold nothing that could be lost, and
//! are written directly.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use crate::client::failure::Failure;
use crate::client::interrupt::{Interrupt, wait_until};

/// Maximum number of symbolic links followed, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Maximum length of a file name in bytes (NAME_MAX).
const NAME_MAX: usize = 255;
/// Attempts at an unused temporary name: others are left over by killed processes with this PID.
const MAX_NAMES: u32 = 100;
/// Interval at which the other end of a FIFO is looked for.
const FIFO_POLL: Duration = Duration::from_millis(50);

/// A file by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// Returns the identity of a regular file; `None` for anything else, which cannot be overwritten.
    pub(crate) fn of(metadata: &Metadata) -> Option<FileId> {
        metadata
            .is_file()
            .then(|| FileId(metadata.dev(), metadata.ino()))
    }
}

/// A file that is being written.
pub(crate) struct OutputFile {
    to: To,
    /// Name of the file in messages.
    shown: String,
}

enum To {
    StandardOutput,
    /// A device, a FIFO, or a descriptor of this process.
    Direct(File),
    Beside(Beside),
}

/// A regular file under its temporary name.
struct Beside {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// Whether the temporary file stays when this value is dropped.
    keep: bool,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// What a path leads to.
enum Place {
    /// A regular file, or no file yet, at this path without links.
    Regular(PathBuf, Option<Metadata>),
    Fifo,
    /// A device or socket.
    Device,
    /// Standard output by name.
    StandardOutput,
    /// Another descriptor of a process, by its name in /proc.
    Descriptor,
}

impl OutputFile {
    /// Opens the destination; - and /dev/stdout are standard output. `inputs` are the files that the
    /// command reads, which are refused as destination. An interrupt ends waiting for the reader of a
    /// FIFO.
    ///
    /// # Errors
    /// With what to do, if the destination cannot be written. An existing file is unchanged.
    pub(crate) fn open(
        path: &Path,
        inputs: &[FileId],
        interrupt: Option<&Interrupt>,
    ) -> Result<OutputFile, Failure> {
        let shown = path.display().to_string();
        let cannot = |error: io::Error| cannot_write(path, &reason(&error));
        let place = if path == Path::new("-") {
            Place::StandardOutput
        } else {
            place(path).map_err(cannot)?
        };
        let to = match place {
            Place::StandardOutput => return OutputFile::standard_output(inputs),
            Place::Descriptor => {
                let file = OpenOptions::new().append(true).open(path).map_err(cannot)?;
                To::Direct(file)
            }
            Place::Device => {
                let file = OpenOptions::new().write(true).open(path).map_err(cannot)?;
                To::Direct(file)
            }
            Place::Fifo => To::Direct(open_fifo(path, interrupt)?),
            Place::Regular(real, existing) => {
                let id = existing.as_ref().and_then(FileId::of);
                if id.is_some_and(|id| inputs.contains(&id)) {
                    return Err(Failure::Other(format!(
                        "{shown} is the input as well: write to another file"
                    )));
                }
                if existing.is_some() {
                    // O_CREAT makes the kernel apply fs.protected_regular (proc_sys_fs(5)) as well.
                    // Nothing is truncated.
                    let mut may_write = OpenOptions::new();
                    may_write.write(true).create(true).truncate(false);
                    may_write.open(path).map_err(cannot)?;
                }
                To::Beside(Beside::create(path, real, existing)?)
            }
        };
        Ok(OutputFile { to, shown })
    }

    fn standard_output(inputs: &[FileId]) -> Result<OutputFile, Failure> {
        let out = io::stdout();
        if out.is_terminal() {
            return Err(Failure::Other(
                "standard output is a terminal: redirect it, or name a file".into(),
            ));
        }
        let own = out.as_fd().try_clone_to_owned().map(File::from);
        let own = own.and_then(|file| file.metadata());
        let id = own.ok().as_ref().and_then(FileId::of);
        if id.is_some_and(|id| inputs.contains(&id)) {
            return Err(Failure::Other(
                "standard output is the input file: write to another file".into(),
            ));
        }
        Ok(OutputFile {
            to: To::StandardOutput,
            shown: "standard output".into(),
        })
    }

    /// Returns the name of the file for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Appends bytes. Returns `false` if the reader of a pipe is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let outcome = match &mut self.to {
            To::StandardOutput => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            To::Direct(file) => file.write_all(bytes),
            To::Beside(beside) => beside.file.write_all(bytes),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(cannot_write(Path::new(&self.shown), &reason(&error))),
        }
    }

    /// Puts the complete file in place of an existing one.
    pub(crate) fn complete(self) -> Result<(), Failure> {
        let shown = self.shown;
        let To::Beside(mut beside) = self.to else {
            return Ok(());
        };
        let path = Path::new(&shown);
        // A full disk or quota may only show here (NFS, delayed allocation).
        match beside.file.sync_all() {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                return Err(cannot_write(path, &reason(&error)));
            }
            _ => {}
        }
        beside.keep = true;
        fs::rename(&beside.temporary, &beside.path).map_err(|error| {
            let temporary = beside.temporary.display();
            Failure::Other(format!(
                "cannot replace {shown}: {}; it is unchanged, and the complete new file is \
                 {temporary}",
                reason(&error)
            ))
        })
    }

    /// Gives up on an incomplete file that holds data worth keeping: the temporary file stays. Returns a
    /// sentence that says where the data is; an existing file is unchanged.
    pub(crate) fn abandon(self) -> String {
        let shown = self.shown;
        match self.to {
            To::Beside(mut beside) => {
                beside.keep = true;
                let unchanged = match fs::symlink_metadata(&beside.path) {
                    Ok(_) => format!("{shown} is unchanged; "),
                    Err(_) => String::new(),
                };
                let temporary = beside.temporary.display();
                format!("{unchanged}the packets until then are in {temporary}")
            }
            _ => format!("the packets until then are in {shown}"),
        }
    }
}

impl Beside {
    /// Creates the temporary file for `real`, with the permissions and the owner of the existing file.
    fn create(path: &Path, real: PathBuf, existing: Option<Metadata>) -> Result<Beside, Failure> {
        let Some(name) = real.file_name() else {
            return Err(cannot_write(path, "it names no file"));
        };
        let parent = parent(&real);
        // Packets are nobody else's business, whatever the umask; an existing file has its own mode.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        for attempt in 0..MAX_NAMES {
            let temporary = parent.join(temporary_name(name, attempt));
            match options.open(&temporary) {
                Ok(file) => {
                    let beside = Beside {
                        file,
                        temporary,
                        path: real,
                        keep: false,
                    };
                    if let Some(existing) = existing {
                        beside.adopt(&existing);
                    }
                    return Ok(beside);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(not_beside(path, parent, &error)),
            }
        }
        let why = format!("{} has {MAX_NAMES} temporary files of it", parent.display());
        Err(cannot_write(path, &why))
    }

    /// Takes over owner and permissions of the file that this one replaces, as far as the caller may.
    fn adopt(&self, existing: &Metadata) {
        let own = self.file.metadata();
        let is_other =
            own.is_ok_and(|own| (own.uid(), own.gid()) != (existing.uid(), existing.gid()));
        if is_other {
            let _ = fchown(&self.file, Some(existing.uid()), Some(existing.gid()));
        }
        let mode = Permissions::from_mode(existing.mode() & 0o777);
        let _ = self.file.set_permissions(mode);
    }
}

/// Returns the temporary name of a file: what it belongs to, who writes it, and that it is incomplete.
fn temporary_name(name: &OsStr, attempt: u32) -> OsString {
    let pid = std::process::id();
    let ending = match attempt {
        0 => format!(".netsonde-{pid}.partial"),
        more => format!(".netsonde-{pid}-{more}.partial"),
    };
    let kept = name.len().min(NAME_MAX - ending.len());
    let mut bytes = name.as_bytes()[..kept].to_vec();
    bytes.extend_from_slice(ending.as_bytes());
    OsString::from_vec(bytes)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Finds out what a path leads to. The kernel follows its links first, and refuses those that it does
/// not trust (fs.protected_symlinks).
fn place(path: &Path) -> io::Result<Place> {
    let found = match fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let is_link = fs::symlink_metadata(&at).is_ok_and(|here| here.is_symlink());
        if !is_link {
            return Ok(match found {
                None => Place::Regular(at, None),
                Some(found) if found.is_file() => Place::Regular(at, Some(found)),
                Some(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
                Some(found) if found.file_type().is_fifo() => Place::Fifo,
                Some(_) => Place::Device,
            });
        }
        let folder = parent(&at).to_owned();
        if statfs(&folder).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC) {
            // The target of such a link is an open file, not a path.
            return Ok(descriptor(&folder, at.file_name(), found.as_ref()));
        }
        at = folder.join(fs::read_link(&at)?);
    }
    Err(Errno::ELOOP.into())
}

/// A link in /proc: this process's standard output, or some descriptor. A FIFO is opened as one.
fn descriptor(folder: &Path, name: Option<&OsStr>, found: Option<&Metadata>) -> Place {
    let own = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let is_own = fs::canonicalize(folder).is_ok_and(|folder| folder == own);
    if is_own && name == Some(OsStr::new("1")) {
        Place::StandardOutput
    } else if found.is_some_and(|found| found.file_type().is_fifo()) {
        Place::Fifo
    } else {
        Place::Descriptor
    }
}

/// Opens a FIFO when it has a reader.
fn open_fifo(path: &Path, interrupt: Option<&Interrupt>) -> Result<File, Failure> {
    let cannot = |error: io::Error| cannot_write(path, &reason(&error));
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    loop {
        match options.open(path) {
            Ok(file) => {
                fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))
                    .map_err(|errno| cannot(errno.into()))?;
                return Ok(file);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => match interrupt {
                Some(interrupt) => {
                    if wait_until(Instant::now() + FIFO_POLL, interrupt)? {
                        return Err(cannot_write(path, "interrupted before it had a reader"));
                    }
                }
                None => std::thread::sleep(FIFO_POLL),
            },
            Err(error) => return Err(cannot(error)),
        }
    }
}

/// The kernel's words for an error, without its number.
fn reason(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (Some(errno), _) => {
            let words = Errno::from_raw(errno).desc();
            match words.split_at_checked(1) {
                Some((first, rest)) if rest.starts_with(char::is_lowercase) => {
                    format!("{}{rest}", first.to_lowercase())
                }
                _ => words.into(),
            }
        }
        (None, ErrorKind::IsADirectory) => "it is a directory".into(),
        (None, _) => error.to_string(),
    }
}

fn cannot_write(path: &Path, why: &str) -> Failure {
    Failure::Other(format!("cannot write {}: {why}", path.display()))
}

/// The failure to create the temporary file, with what to do.
fn not_beside(path: &Path, folder: &Path, error: &io::Error) -> Failure {
    let folder = folder.display();
    let why = match error.kind() {
        ErrorKind::NotFound => format!("there is no directory {folder}"),
        ErrorKind::ReadOnlyFilesystem => format!(
            "{folder} is on a read-only file system: choose another directory, or standard output (-)"
        ),
        ErrorKind::PermissionDenied => format!(
            "no permission to create a file in {folder}, where it is completed under a temporary \
             name: choose another directory, or standard output (-)"
        ),
        _ => format!("{} (in {folder})", reason(error)),
    };
    cannot_write(path, &why)
}
