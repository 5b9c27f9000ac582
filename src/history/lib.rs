//! The history of netsonde's monitors: what `netsonde-historian` keeps on disk, and what it concludes from
//! it. Everything but `disk` is pure: probes, times and a directory are arguments.
//!
//! | module | contents |
//! |---|---|
//! | [`store`] | probes in, history out: journal, segments, compaction, budget |
//! | [`table`] | small values that change, by key, in a file of their own |
//! | [`packets`] | packets in, packets out: the same files, with their own budget |
//! | [`segment`], [`record`] | format of files and of the records in them, the same for probes and packets |
//! | [`chunk`] | every probe of a series: fate, send time, round trip on the wire to 3 %, and in total |
//! | [`histogram`] | histograms that can be merged, and steps of minutes to hours |
//! | [`scale`] | buckets of durations, shared by chunks and histograms |
//! | [`directory`], [`disk`] | the directory of a store, as a trait and as a directory of the file system |
//! | [`state`] | state of a target; begin and end of its outages |
//! | [`degraded`] | comparison of a target with its own history |
//! | [`load`] | losses that come only while an interface carries much |
//! | [`book`] | all targets and their outages, and what is told of them |
//! | [`shared`] | outages with one cause as one outage |
//! | [`paths`] | paths to the networks of targets: when to look at which, and when one has changed |
//! | [`counters`] | counters of the host, minute by minute |
//! | [`recurrence`] | outages that recur, and the chance that this is a coincidence |

#![forbid(unsafe_code)]

mod batch;
pub mod book;
mod bytes;
pub mod chunk;
pub mod counters;
pub mod degraded;
pub mod directory;
pub mod disk;
mod entropy;
pub mod histogram;
pub mod load;
#[cfg(test)]
mod memory;
pub mod packets;
pub mod paths;
pub mod record;
pub mod recurrence;
pub mod scale;
pub mod segment;
pub mod shared;
pub mod state;
pub mod store;
pub mod table;
