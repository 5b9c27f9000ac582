//! What the engine does with memory and programs that come from elsewhere.

use std::os::unix::fs::FileExt;

use netsonde::daemon::engine::ring::Ring;
use netsonde::linux::mapping::{Mapping, sealed_memory};
use netsonde_core::recorder::RingMark;
use netsonde_core::recorder::filter::{Instruction, Program, View};
use netsonde_core::wire::glance::glance;
use netsonde_core::wire::{Direction, LinkType};

const BLOCK_BYTES: usize = 4096;
const BLOCKS: usize = 4;
/// Bytes of the smallest packet in a ring: its header and address (linux/if_packet.h).
const PACKET_MIN: usize = 68;

/// The memory of a ring, behind eight bytes that say where the last engine stopped. Only what lies within a block is
/// a packet, and there are no more than fit.
pub fn ring(data: &[u8]) {
    let Some((mark, memory)) = data.split_first_chunk::<8>() else {
        return;
    };
    let memory = &memory[..memory.len().min(BLOCK_BYTES * BLOCKS)];
    let descriptor = sealed_memory("ring", BLOCK_BYTES * BLOCKS).expect("memory");
    let file = std::fs::File::from(descriptor);
    file.write_all_at(memory, 0).expect("written");
    let mapping = Mapping::new(&file, BLOCK_BYTES * BLOCKS).expect("mapped");
    let mark = RingMark {
        block: mark[0].into(),
        sequence: mark[1].into(),
        ..RingMark::default()
    };
    let mut ring = Ring::new(mapping, BLOCK_BYTES as u32, BLOCKS as u32, &mark);
    for _ in 0..2 * BLOCKS {
        let Some(block) = ring.block() else { break };
        assert!(block.index < BLOCKS);
        let (mut count, announced) = (0, block.packets as usize);
        for packet in block.walk {
            count += 1;
            assert!(count <= announced.min(BLOCK_BYTES / PACKET_MIN + 1));
            assert!(packet.bytes.len() <= BLOCK_BYTES);
            glance(LinkType::Ethernet, packet.bytes);
        }
        ring.release();
    }
    ring.filling();
}

/// A program of the filter machine: direction, number of instructions, instructions of 8 bytes, and a frame. What is
/// accepted ends, with one result.
pub fn filter(data: &[u8]) {
    let [direction, count, rest @ ..] = data else {
        return;
    };
    let length = (usize::from(*count) * 8).min(rest.len() / 8 * 8);
    let (code, frame) = rest.split_at(length);
    let instructions: Vec<Instruction> = code
        .chunks_exact(8)
        .map(|bytes| Instruction {
            code: u16::from_be_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let numbers: Vec<u32> = (instructions.iter())
        .flat_map(|one| [one.code.into(), one.jt.into(), one.jf.into(), one.k])
        .collect();
    let program = Program::verify(instructions);
    assert_eq!(program, Program::from_numbers(&numbers));
    let Ok(program) = program else { return };
    let direction = match direction % 3 {
        0 => Direction::Unknown,
        1 => Direction::Outbound,
        _ => Direction::ToUs,
    };
    for view in [View::Wire, View::Stripped] {
        let run = |bytes: &[u8]| program.run_view(bytes, frame.len() as u32, direction, view);
        assert_eq!(run(frame), run(frame));
        run(&frame[..frame.len() / 2]);
    }
}
