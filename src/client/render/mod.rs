//! SHELL. Rendering for people and programs: tables and styles, packet lines, card vendors.

pub mod in_place;
pub mod oui;
pub mod packet_line;
pub mod style;
pub mod table;
pub mod wrap;
