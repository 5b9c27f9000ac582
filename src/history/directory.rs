//! PURE. The directory of a store, as a trait: the store is the same on a disk and in a test that lets disks
//! fill up, vanish and lose power.

use std::io;

/// Bytes that can be read anywhere.
pub trait ReadAt {
    /// Fills a buffer from an offset; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether there are no bytes.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file that only grows.
pub trait Append {
    /// Writes all bytes at the end. After an error some of them may be there.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn sync(&mut self) -> io::Result<()>;

    /// Removes everything from a length on.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A flat directory.
pub trait Directory {
    /// Returns the words that name the directory in messages: its path.
    fn path(&self) -> String;

    /// Makes sure that no other process uses the directory, until the end of this one.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if another process does; errors of the file system.
    fn lock(&mut self) -> io::Result<()>;

    /// Lists the files with their lengths in bytes.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;

    /// Opens a file for appending; creates it, readable by its owner only, if it does not exist.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn append_to(&mut self, name: &str) -> io::Result<Box<dyn Append>>;

    /// Gives a file another name, and waits until this is on the disk.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// Errors of the file system; none if there is no such file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}
