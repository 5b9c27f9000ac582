//! PURE. For tests: a disk in memory that fills up, vanishes and loses power.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::directory::{Append, Directory, ReadAt};

#[derive(Clone, Default)]
pub struct File {
    pub bytes: Vec<u8>,
    /// Bytes that survive a loss of power.
    pub synced: usize,
}

#[derive(Clone, Default)]
pub struct Files {
    pub files: BTreeMap<String, File>,
    /// Bytes that still fit; `None` for no limit.
    pub room: Option<usize>,
    pub error: Option<io::ErrorKind>,
    /// Operations until nothing is done any more, as if the power had gone.
    pub power: Option<u32>,
    pub is_locked: bool,
}

#[derive(Clone, Default)]
pub struct Memory(pub Rc<RefCell<Files>>);

impl Memory {
    fn change(&self) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        if let Some(error) = files.error {
            return Err(error.into());
        }
        if let Some(power) = &mut files.power {
            if *power == 0 {
                return Err(io::Error::other("no power"));
            }
            *power -= 1;
        }
        Ok(())
    }

    /// What is on the disk after a loss of power: of what was not synced, some part.
    pub fn after_power_cut(&self, part: usize) -> Memory {
        let mut files = self.0.borrow().clone();
        for file in files.files.values_mut() {
            file.synced = file.synced.min(file.bytes.len());
            let torn = (file.bytes.len() - file.synced) * part / 100;
            file.bytes.truncate(file.synced + torn);
        }
        Memory(Rc::new(RefCell::new(Files {
            files: files.files,
            ..Files::default()
        })))
    }

    pub fn copy(&self) -> Memory {
        self.after_power_cut(100)
    }

    pub fn names(&self) -> Vec<String> {
        self.0.borrow().files.keys().cloned().collect()
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = self.bytes.get(offset as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

struct Opened(Memory, String);

impl Append for Opened {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.change()?;
        let mut files = self.0.0.borrow_mut();
        let room = files.room.unwrap_or(usize::MAX);
        let fits = bytes.len().min(room);
        files.room = files.room.map(|room| room - fits);
        let file = files
            .files
            .get_mut(&self.1)
            .ok_or(io::ErrorKind::NotFound)?;
        file.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.change()?;
        if let Some(file) = self.0.0.borrow_mut().files.get_mut(&self.1) {
            file.synced = file.bytes.len();
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.change()?;
        if let Some(file) = self.0.0.borrow_mut().files.get_mut(&self.1) {
            file.bytes.truncate(length as usize);
            file.synced = file.synced.min(length as usize);
        }
        Ok(())
    }
}

impl Directory for Memory {
    fn path(&self) -> String {
        "/var/lib/netsonde".to_owned()
    }

    fn lock(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.0.borrow_mut().is_locked, true) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.borrow();
        let listed = files
            .files
            .iter()
            .map(|(name, file)| (name.clone(), file.bytes.len() as u64));
        Ok(listed.collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let file = self.0.borrow().files.get(name).cloned();
        Ok(Box::new(file.ok_or(io::ErrorKind::NotFound)?))
    }

    fn append_to(&mut self, name: &str) -> io::Result<Box<dyn Append>> {
        self.change()?;
        self.0
            .borrow_mut()
            .files
            .entry(name.to_owned())
            .or_default();
        Ok(Box::new(Opened(self.clone(), name.to_owned())))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        let mut files = self.0.borrow_mut();
        let file = files.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change()?;
        self.0.borrow_mut().files.remove(name);
        Ok(())
    }
}
