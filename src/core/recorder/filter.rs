//! PURE. Classic BPF interpreter with a verifier. Programs are compiled by libpcap in the client, are not
//! trusted, and are verified before they run over recorded packets: as the kernel verifies them, but for jumps
//! backward, which libpcap compiles `protochain` to and its own interpreter allows. Here a limit ends them.

use crate::wire::Direction;
use crate::wire::glance::ethertype;

/// Maximum number of instructions. The kernel accepts 4,096. A request of 64 KiB holds fewer than this
/// limit, and a list of hundreds of ports needs fewer.
pub const MAX_INSTRUCTIONS: usize = 2048;

/// Maximum number of instructions that jumps backward may repeat for one packet. The loop of `protochain` has about 30
/// instructions and follows one header each time; a packet of eight extension headers needs 240.
const MAX_REPEATED: usize = 2048;
/// Words of scratch memory (BPF_MEMWORDS).
const SCRATCH: usize = 16;
/// Maximum number of VLAN tags that [`View::Stripped`] removes.
const MOST_TAGS: usize = 8;

/// One instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump if true, in instructions.
    pub jt: u8,
    /// Jump if false, in instructions.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Why a program was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {instruction}: {reason}")]
pub struct Invalid {
    /// Index of the instruction.
    pub instruction: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Reasons for rejecting an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The program has no instructions.
    #[error("the program is empty")]
    Empty,
    /// The program is too long.
    #[error("more than {MAX_INSTRUCTIONS} instructions")]
    TooLong,
    /// Not four numbers per instruction, or a number that is too large for its field.
    #[error("not a list of code, jt, jf, k")]
    Encoding,
    /// Unknown operation.
    #[error("unknown operation")]
    Operation,
    /// A jump beyond the end.
    #[error("jumps beyond the end of the program")]
    Jump,
    /// Scratch memory that does not exist.
    #[error("uses scratch memory beyond its {SCRATCH} words")]
    Scratch,
    /// Scratch memory that is not written on every path to the instruction.
    #[error("reads scratch memory that may not have been written")]
    Unwritten,
    /// Division or remainder by a constant zero.
    #[error("divides by zero")]
    Zero,
    /// A shift by a constant of 32 or more.
    #[error("shifts by more than 31")]
    Shift,
    /// A load of ancillary data, which only a live kernel packet has.
    #[error("loads ancillary data, which recorded packets do not have")]
    Ancillary,
    /// The program does not end with a return.
    #[error("the last instruction does not return")]
    NoReturn,
}

/// Offset at which [`View::Stripped`] shows the tags: two bytes TPID (0 if there is no tag) and two bytes
/// TCI of the outermost tag, then of the next. It is beyond the end of any recorded frame.
pub const TAGS_AT: u64 = 65_528;

/// Offset at which every view shows the direction, in one byte: 0 unknown, [`INBOUND`] or [`OUTBOUND`]. It is beyond the
/// end of any recorded frame.
pub const DIRECTION_AT: u64 = TAGS_AT - 4;
/// Value at [`DIRECTION_AT`] for received packets.
pub const INBOUND: u8 = 1;
/// Value at [`DIRECTION_AT`] for sent packets.
pub const OUTBOUND: u8 = 2;

/// The bytes that a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The frame as it was on the wire.
    Wire,
    /// The frame without 802.1Q and 802.1ad tags, as filters see it on a live Linux interface. The
    /// first two tags can be loaded from [`TAGS_AT`], so that an expression can test them
    /// without changing the offsets of everything after it, as libpcap's own `vlan` does.
    Stripped,
}

// linux/bpf_common.h: class, size, mode, operation, source.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const X: u16 = 0x08;

/// A verified program. It ends after at most as many steps as it has instructions, and 2,048 more if it
/// jumps backward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Decodes a program from the control protocol: code, jt, jf, k for each instruction.
    pub fn from_numbers(numbers: &[u32]) -> Result<Program, Invalid> {
        let wrong = |instruction| Invalid {
            instruction,
            reason: Reason::Encoding,
        };
        if !numbers.len().is_multiple_of(4) {
            return Err(wrong(numbers.len() / 4));
        }
        let instruction = |four: &[u32]| {
            Some(Instruction {
                code: four[0].try_into().ok()?,
                jt: four[1].try_into().ok()?,
                jf: four[2].try_into().ok()?,
                k: four[3],
            })
        };
        let instructions = numbers
            .chunks_exact(4)
            .enumerate()
            .map(|(at, four)| instruction(four).ok_or_else(|| wrong(at)))
            .collect::<Result<Vec<_>, _>>()?;
        Program::verify(instructions)
    }

    /// Verifies a program.
    ///
    /// # Errors
    ///
    /// The first invalid instruction and the reason.
    pub fn verify(code: Vec<Instruction>) -> Result<Program, Invalid> {
        let whole = |reason| {
            Err(Invalid {
                instruction: 0,
                reason,
            })
        };
        if code.is_empty() {
            return whole(Reason::Empty);
        }
        if code.len() > MAX_INSTRUCTIONS {
            return whole(Reason::TooLong);
        }
        for (at, instruction) in code.iter().enumerate() {
            check(instruction, at, code.len() - at - 1).map_err(|reason| Invalid {
                instruction: at,
                reason,
            })?;
        }
        let last = code.len() - 1;
        if code[last].code & 0x07 != RET {
            return Err(Invalid {
                instruction: last,
                reason: Reason::NoReturn,
            });
        }
        check_scratch(&code)?;
        Ok(Program(code))
    }

    /// Returns the instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Runs the program over a frame in one of its views. Returns 0 for no match. `wire_length` is the
    /// length on the wire in bytes, which the program loads as `len`.
    pub fn run_view(
        &self,
        frame: &[u8],
        wire_length: u32,
        direction: Direction,
        view: View,
    ) -> u32 {
        let tags = match view {
            View::Wire => 0,
            View::Stripped => tag_bytes(frame),
        };
        let direction = match direction {
            Direction::Unknown => 0,
            Direction::Outbound => OUTBOUND,
            _ => INBOUND,
        };
        let seen = Seen {
            frame,
            tags,
            direction,
            has_tags: view == View::Stripped,
        };
        self.run(&seen, wire_length)
    }

    fn run(&self, frame: &Seen<'_>, wire_length: u32) -> u32 {
        let (mut a, mut x) = (0u32, 0u32);
        let mut scratch = [0u32; SCRATCH];
        let mut repeated = 0;
        let mut at = 0;
        while let Some(instruction) = self.0.get(at) {
            at += 1;
            let k = instruction.k;
            match instruction.code & 0x07 {
                LD => {
                    let loaded = match instruction.code {
                        0x00 => Some(k),
                        0x80 => Some(wire_length),
                        0x60 => Some(scratch[k as usize % SCRATCH]),
                        0x20 | 0x28 | 0x30 => frame.load(u64::from(k), instruction.code),
                        // Indexed: the sum does not wrap, it is out of bounds.
                        _ => frame.load(u64::from(k) + u64::from(x), instruction.code),
                    };
                    match loaded {
                        Some(value) => a = value,
                        // A load out of bounds ends the program: no match.
                        None => return 0,
                    }
                }
                LDX => match instruction.code {
                    0x01 => x = k,
                    0x81 => x = wire_length,
                    0x61 => x = scratch[k as usize % SCRATCH],
                    _ => match frame.byte(u64::from(k)) {
                        Some(byte) => x = u32::from(byte & 0x0f) * 4,
                        None => return 0,
                    },
                },
                ST => scratch[k as usize % SCRATCH] = a,
                STX => scratch[k as usize % SCRATCH] = x,
                ALU => {
                    let operand = if instruction.code & X != 0 { x } else { k };
                    match calculate(instruction.code & 0xf0, a, operand) {
                        Some(value) => a = value,
                        None => return 0,
                    }
                }
                JMP => {
                    let operand = if instruction.code & X != 0 { x } else { k };
                    let holds = match instruction.code & 0xf0 {
                        0x00 => {
                            let back = (k as i32).min(0).unsigned_abs() as usize;
                            repeated += back;
                            if repeated > MAX_REPEATED {
                                return 0;
                            }
                            at = at - back + (k as i32).max(0) as usize;
                            continue;
                        }
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    at += usize::from(if holds {
                        instruction.jt
                    } else {
                        instruction.jf
                    });
                }
                RET => {
                    return if instruction.code & 0x18 == 0x10 {
                        a
                    } else {
                        k
                    };
                }
                _ => {
                    if instruction.code == 0x07 {
                        x = a;
                    } else {
                        a = x;
                    }
                }
            }
        }
        0
    }
}

fn calculate(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        // The kernel masks a shift by X to five bits.
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(operand)?,
        _ => a ^ operand,
    })
}

/// Checks one instruction; `before` and `behind` are the numbers of instructions before and after it.
fn check(instruction: &Instruction, before: usize, behind: usize) -> Result<(), Reason> {
    let k = instruction.k;
    match instruction.code {
        // Loads: immediate, length, absolute, indexed, header length, scratch.
        0x00 | 0x80 | 0x01 | 0x81 | 0xb1 | 0x40 | 0x48 | 0x50 => Ok(()),
        0x20 | 0x28 | 0x30 if (k as i32) < 0 => Err(Reason::Ancillary),
        0x20 | 0x28 | 0x30 => Ok(()),
        0x60 | 0x61 | 0x02 | 0x03 if k as usize >= SCRATCH => Err(Reason::Scratch),
        0x60 | 0x61 | 0x02 | 0x03 => Ok(()),
        0x34 | 0x94 if k == 0 => Err(Reason::Zero),
        0x64 | 0x74 if k >= 32 => Err(Reason::Shift),
        // Arithmetic with k, with X, and negation.
        0x04 | 0x14 | 0x24 | 0x34 | 0x44 | 0x54 | 0x64 | 0x74 | 0x84 | 0x94 | 0xa4 => Ok(()),
        0x0c | 0x1c | 0x2c | 0x3c | 0x4c | 0x5c | 0x6c | 0x7c | 0x9c | 0xac => Ok(()),
        0x05 if (k as i32) < 0 => {
            // Counted from the next instruction, and not to itself, which would never end.
            let back = (k as i32).unsigned_abs() as usize;
            if (2..=before + 1).contains(&back) {
                Ok(())
            } else {
                Err(Reason::Jump)
            }
        }
        0x05 if k as usize >= behind => Err(Reason::Jump),
        0x05 => Ok(()),
        0x15 | 0x25 | 0x35 | 0x45 | 0x1d | 0x2d | 0x3d | 0x4d => {
            let furthest = usize::from(instruction.jt.max(instruction.jf));
            if furthest >= behind {
                Err(Reason::Jump)
            } else {
                Ok(())
            }
        }
        0x06 | 0x16 | 0x07 | 0x87 => Ok(()),
        _ => Err(Reason::Operation),
    }
}

/// Rejects programs that read a word of scratch memory that was not written on every path to it.
fn check_scratch(code: &[Instruction]) -> Result<(), Invalid> {
    // Words written on every path, for each reachable instruction. A jump backward can only take words away, so
    // that a repetition ends after at most one for each word.
    let mut written = vec![u16::MAX; code.len()];
    written[0] = 0;
    loop {
        let before = written.clone();
        for (at, instruction) in code.iter().enumerate() {
            let mut here = written[at];
            let bit = 1u16 << (instruction.k % SCRATCH as u32);
            if matches!(instruction.code, 0x02 | 0x03) {
                here |= bit;
            }
            let mut reach = |there: usize| {
                if let Some(there) = written.get_mut(there) {
                    *there &= here;
                }
            };
            match instruction.code & 0x07 {
                JMP if instruction.code == 0x05 => {
                    reach((at + 1).wrapping_add_signed(instruction.k as i32 as isize));
                }
                JMP => {
                    reach(at + 1 + usize::from(instruction.jt));
                    reach(at + 1 + usize::from(instruction.jf));
                }
                // Nothing follows a return, but the kernel treats the next instruction as reachable.
                _ => reach(at + 1),
            }
        }
        if written == before {
            break;
        }
    }
    for (at, instruction) in code.iter().enumerate() {
        let bit = 1u16 << (instruction.k % SCRATCH as u32);
        if matches!(instruction.code, 0x60 | 0x61) && written[at] & bit == 0 {
            return Err(Invalid {
                instruction: at,
                reason: Reason::Unwritten,
            });
        }
    }
    Ok(())
}

/// Returns the number of bytes of VLAN tags after the MAC addresses.
fn tag_bytes(frame: &[u8]) -> usize {
    let mut bytes = 0;
    while bytes < 4 * MOST_TAGS {
        match frame.get(12 + bytes..14 + bytes) {
            Some(kind)
                if [ethertype::VLAN, ethertype::QINQ, 0x9100]
                    .contains(&u16::from_be_bytes([kind[0], kind[1]])) =>
            {
                bytes += 4;
            }
            _ => break,
        }
    }
    bytes
}

/// The memory that a program loads from: a frame, in one of its views, and what is known of it besides.
struct Seen<'a> {
    frame: &'a [u8],
    /// Number of bytes of tags that are left out.
    tags: usize,
    /// The byte at [`DIRECTION_AT`].
    direction: u8,
    /// Whether tags can be loaded from [`TAGS_AT`].
    has_tags: bool,
}

impl Seen<'_> {
    /// Loads a word, half-word or byte, by the size bits of `code`.
    #[inline]
    fn load(&self, at: u64, code: u16) -> Option<u32> {
        if self.tags > 0 || at >= DIRECTION_AT {
            return self.gather(at, code);
        }
        let rest = self.frame.get(usize::try_from(at).ok()?..)?;
        match (code & 0x18, rest) {
            (0x00, [a, b, c, d, ..]) => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            (0x08, [a, b, ..]) => Some(u16::from_be_bytes([*a, *b]).into()),
            (0x10, [a, ..]) => Some((*a).into()),
            _ => None,
        }
    }

    #[inline]
    fn gather(&self, at: u64, code: u16) -> Option<u32> {
        let size = match code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            _ => 1,
        };
        (0..size).try_fold(0u32, |value, offset| {
            Some(value << 8 | u32::from(self.byte(at + offset)?))
        })
    }

    #[inline]
    fn byte(&self, at: u64) -> Option<u8> {
        if at == DIRECTION_AT {
            return Some(self.direction);
        }
        let at = usize::try_from(at).ok()?;
        if let Some(offset) = at.checked_sub(TAGS_AT as usize)
            && self.has_tags
        {
            let there = offset < 8 && offset / 4 < self.tags / 4;
            // As libpcap's `vlan`, a test of a frame that ends before its EtherType is not met, nor is its negation.
            self.frame.get(13)?;
            return match there {
                true => self.frame.get(12 + offset).copied(),
                false => (offset < 8).then_some(0),
            };
        }
        let real = if at < 12 {
            at
        } else {
            at.checked_add(self.tags)?
        };
        self.frame.get(real).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    /// `udp port 5000` for IPv4 on Ethernet, by hand.
    fn udp_port_5000() -> Program {
        Program::verify(vec![
            i(0x28, 0, 0, 12),
            i(0x15, 0, 10, 0x800),
            i(0x30, 0, 0, 23),
            i(0x15, 0, 8, 17),
            i(0x28, 0, 0, 20),
            i(0x45, 6, 0, 0x1fff),
            i(0xb1, 0, 0, 14),
            i(0x48, 0, 0, 14),
            i(0x15, 2, 0, 5000),
            i(0x48, 0, 0, 16),
            i(0x15, 0, 1, 5000),
            i(0x06, 0, 0, 262_144),
            i(0x06, 0, 0, 0),
        ])
        .unwrap()
    }

    fn frame(tags: &[u8], port: u16) -> Vec<u8> {
        let mut frame = vec![0u8; 12];
        frame.extend_from_slice(tags);
        frame.extend_from_slice(&[
            8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend_from_slice(&[0, 7]);
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&[0, 8, 0, 0]);
        frame
    }

    #[test]
    fn runs_and_sees_through_tags() {
        let program = udp_port_5000();
        let tagged = frame(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7], 5000);
        assert_ne!(
            program.run_view(&frame(&[], 5000), 42, Direction::Unknown, View::Wire),
            0
        );
        assert_eq!(
            program.run_view(&frame(&[], 5001), 42, Direction::Unknown, View::Wire),
            0
        );
        assert_eq!(
            program.run_view(&tagged, 50, Direction::Unknown, View::Wire),
            0
        );
        assert_ne!(
            program.run_view(&tagged, 50, Direction::Unknown, View::Stripped),
            0
        );
        let load = |at: u32| Program::verify(vec![i(0x28, 0, 0, at), i(0x16, 0, 0, 0)]).unwrap();
        for (offset, value) in [(0, 0x88a8), (2, 5), (4, 0x8100), (6, 7)] {
            let program = load(TAGS_AT as u32 + offset);
            assert_eq!(
                program.run_view(&tagged, 50, Direction::Unknown, View::Stripped),
                value
            );
            assert_eq!(
                program.run_view(&frame(&[], 1), 50, Direction::Unknown, View::Stripped),
                0
            );
        }
        for end in 0..tagged.len() - 4 {
            program.run_view(&tagged[..end], 50, Direction::Unknown, View::Stripped);
        }
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let ret = i(0x06, 0, 0, 1);
        for (code, reason) in [
            (vec![], Reason::Empty),
            (vec![ret; MAX_INSTRUCTIONS + 1], Reason::TooLong),
            (vec![i(0x00, 0, 0, 1)], Reason::NoReturn),
            (vec![i(0x15, 1, 0, 1), ret], Reason::Jump),
            (vec![i(0x05, 0, 0, u32::MAX), ret], Reason::Jump),
            (vec![ret, i(0x05, 0, 0, -3i32 as u32), ret], Reason::Jump),
            (vec![i(0x60, 0, 0, 16), ret], Reason::Scratch),
            (vec![i(0x60, 0, 0, 3), ret], Reason::Unwritten),
            (
                vec![i(0x15, 0, 1, 0), i(0x02, 0, 0, 3), i(0x60, 0, 0, 3), ret],
                Reason::Unwritten,
            ),
            (vec![i(0x34, 0, 0, 0), ret], Reason::Zero),
            (vec![i(0x64, 0, 0, 32), ret], Reason::Shift),
            (vec![i(0x28, 0, 0, 0xffff_f000), ret], Reason::Ancillary),
            (vec![i(0xff, 0, 0, 0), ret], Reason::Operation),
        ] {
            assert_eq!(Program::verify(code).unwrap_err().reason, reason);
        }
        let fine = vec![
            i(0x15, 1, 1, 0),
            ret,
            i(0x02, 0, 0, 3),
            i(0x60, 0, 0, 3),
            ret,
        ];
        assert!(Program::verify(fine).is_ok());
        assert_eq!(
            Program::from_numbers(&[6, 0, 0]).unwrap_err().reason,
            Reason::Encoding
        );
        assert_eq!(
            Program::from_numbers(&[6, 256, 0, 0]).unwrap_err().reason,
            Reason::Encoding
        );
    }

    #[test]
    fn sums_out_of_bounds_do_not_wrap() {
        let program = Program::verify(vec![
            i(0x01, 0, 0, u32::MAX),
            i(0x50, 0, 0, 1),
            i(0x06, 0, 0, 1),
        ])
        .unwrap();
        assert_eq!(
            program.run_view(&[1, 2, 3], 3, Direction::Unknown, View::Wire),
            0
        );
    }

    #[test]
    fn loops_end() {
        // a = 0; again: a += 1; if a != k goto again; return a.
        let count = |k: u32| {
            let code = vec![
                i(0x00, 0, 0, 0),
                i(0x04, 0, 0, 1),
                i(0x15, 1, 0, k),
                i(0x05, 0, 0, -3i32 as u32),
                i(0x16, 0, 0, 0),
            ];
            Program::verify(code)
                .unwrap()
                .run_view(&[], 0, Direction::Unknown, View::Wire)
        };
        assert_eq!(count(10), 10);
        assert_eq!(
            count(0),
            0,
            "without the limit it would take 4 billion rounds"
        );
        // A word that only the second round has written.
        let late = vec![
            i(0x05, 0, 0, 1),
            i(0x02, 0, 0, 3),
            i(0x60, 0, 0, 3),
            i(0x05, 0, 0, -3i32 as u32),
            i(0x06, 0, 0, 1),
        ];
        assert_eq!(Program::verify(late).unwrap_err().reason, Reason::Unwritten);
    }

    #[test]
    fn direction_is_a_byte_behind_the_frame() {
        let code = vec![i(0x30, 0, 0, DIRECTION_AT as u32), i(0x16, 0, 0, 0)];
        let program = Program::verify(code).unwrap();
        for (direction, value) in [
            (Direction::Unknown, 0),
            (Direction::ToUs, INBOUND),
            (Direction::ToOther, INBOUND),
            (Direction::Outbound, OUTBOUND),
        ] {
            for view in [View::Wire, View::Stripped] {
                let seen = program.run_view(&[1, 2, 3], 3, direction, view);
                assert_eq!(seen, u32::from(value));
            }
        }
    }

    const CODES: [u16; 44] = [
        0x00, 0x80, 0x01, 0x81, 0xb1, 0x40, 0x48, 0x50, 0x20, 0x28, 0x30, 0x60, 0x61, 0x02, 0x03,
        0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0x94, 0xa4, 0x0c, 0x1c, 0x2c, 0x3c,
        0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06, 0x16, 0x07,
    ];

    proptest! {
        #[test]
        fn any_verified_program_ends(
            code in prop::collection::vec((0..44usize, 0..6u8, 0..6u8, prop_oneof![0..40u32, any::<u32>()]), 1..40),
            frame in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut code: Vec<Instruction> =
                code.into_iter().map(|(c, jt, jf, k)| i(CODES[c], jt, jf, k)).collect();
            code.extend([i(0x06, 0, 0, 1); 7]);
            if let Ok(program) = Program::verify(code) {
                program.run_view(&frame, 100, Direction::Unknown, View::Wire);
                program.run_view(&frame, 100, Direction::Unknown, View::Stripped);
            }
        }
    }
}
